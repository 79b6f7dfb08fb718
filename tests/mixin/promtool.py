"""Series and cases for promtool's rule tests, written as rates and minutes instead of value lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Phases = Sequence[tuple[float | None, float]]


def counter(phases: Phases, *, restart_at: float | None = None, step: int = 15) -> str:
    """Write a counter: each phase is (events a second, minutes); None means no sample.

    At minute ``restart_at`` the process restarts and counts from 0.
    """
    values, total, index = ["0"], 0.0, 0
    for rate, minutes in phases:
        for _ in range(round(minutes * 60 / step)):
            index += 1
            if restart_at is not None and index == round(restart_at * 60 / step):
                total = 0.0
            total += (rate or 0.0) * step
            values.append("_" if rate is None else f"{total:.10g}")
    return " ".join(values)


def gauge(phases: Phases, *, step: int = 15) -> str:
    """Write a gauge: each phase is (value, minutes); None means no sample."""
    values: list[str] = []
    for value, minutes in phases:
        values += ["_" if value is None else f"{value:g}"] * round(minutes * 60 / step)
    return " ".join(values)


@dataclass(frozen=True)
class Case:
    """One situation, and at some minutes the alerts that fire then: all of them, no others.

    Samples are ``step`` seconds apart. Rules are evaluated ``every`` so many seconds, by default at every
    other sample. What sums up recorded rates counts on 30 s: at 60 s it finds half.
    """

    alert: str
    situation: str
    series: dict[str, str]
    expect: dict[float, set[str]]
    step: int = 15
    every: int = 0


def suites(rule_file: str, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Build the contents of promtool test files, one for each interval between evaluations."""
    intervals = {case.every or 2 * case.step for case in cases}
    return [
        _suite(rule_file, [case for case in cases if (case.every or 2 * case.step) == every], every)
        for every in sorted(intervals)
    ]


def _suite(rule_file: str, cases: Sequence[Case], evaluation_seconds: int) -> dict[str, Any]:
    tests = []
    for case in cases:
        queries = [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{round(minute * 60)}s",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)],
            }
            for minute, firing in case.expect.items()
        ]
        tests.append(
            {
                "name": f"{case.alert}: {case.situation}",
                "interval": f"{case.step}s",
                "input_series": [{"series": name, "values": text} for name, text in case.series.items()],
                "promql_expr_test": queries,
            }
        )
    return {"rule_files": [rule_file], "evaluation_interval": f"{evaluation_seconds}s", "tests": tests}

"""Recording rules: how much of what was scraped one evaluation reads."""

from __future__ import annotations

import math
import re

import pytest

from exporter.config import Config
from exporter.detectors.mmd.typicality import atypical_p_value
from exporter.mixin.alerts import alerts
from exporter.mixin.recording import recordings
from exporter.mixin.terms import Terms

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
TERMS = {
    "every model": Terms.of(None),
    "one model": Terms.of(
        Config.model_validate({"model": "a[1d]", "alerts": {"job": "j[1w]", "latency_sla": 1}})
    ),
}


def ranges(expr: str) -> list[tuple[str, float, float | None]]:
    """Every range of an expression: the metric's name, its seconds, and the step of a subquery."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    found = re.findall(r"([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\[(\w+)(?::(\w+))?\]", bare)
    assert len(found) == bare.count("["), f"a range over something else than a metric: {expr}"
    return [(name, seconds(span), seconds(step) if step else None) for name, span, step in found]


def seconds(text: str) -> float:
    parts = re.findall(r"(\d+)(ms|[smhd])", text)
    assert "".join(number + unit for number, unit in parts) == text
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def expressions(terms: Terms) -> list[str]:
    return [*recordings(terms).values(), *(alert.expr for alert in alerts(terms))]


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_no_rule_reads_more_than_an_hour_of_what_was_scraped(terms: Terms) -> None:
    read = [found for expr in expressions(terms) for found in ranges(expr)]
    assert {name for name, _, _ in read} > {"predicted_class_total", "http_requests_total"}
    assert [found for found in read if ":" not in found[0] and found[1] > 3600] == []
    assert [found for found in read if found[1] > 3600] != []


def test_a_long_range_is_noticed() -> None:
    assert ranges('sum(rate(up{a="[5m]"}[1d] offset 1h))') == [("up", 86_400, None)]
    assert ranges("a:b:c[1d:10m]") == [("a:b:c", 86_400, 600)]
    with pytest.raises(AssertionError, match="something else than a metric"):
        ranges("max_over_time(sum(up)[1d:])")


def test_a_class_shift_of_200_classes_in_43_replicas_is_far_below_prometheus_limit() -> None:
    """50 million samples a query, by default; a raw day alone would be 49.5 million."""
    classes, replicas, scrape, evaluation = 200, 43, 15, 30
    for name, expr in recordings(TERMS["every model"]).items():
        if "predicted_class" in name:
            loaded = 0.0
            for metric, span, step in ranges(expr):
                series = classes if ":" in metric else classes * replicas
                loaded += series * span / (step or (evaluation if ":" in metric else scrape))
            assert loaded < 200_000, name


def test_the_groups_of_rules_are_evaluated_as_often_as_the_sums_count_on() -> None:
    from exporter.mixin.rules import prometheus_rules

    for terms in (TERMS["every model"], Terms.of(None, time_scale=1 / 60, min_window_seconds=2)):
        (interval,) = {group["interval"] for group in prometheus_rules(terms)["groups"]}
        assert seconds(interval) == terms.interval_seconds()
        hour = recordings(terms)["job_model_version_class_name:predicted_class:increase1h"]
        assert hour.startswith(f"{terms.interval_seconds():g} * sum_over_time(")


@pytest.mark.parametrize("rows", [500, 1000, 2000, 10_000])
def test_atypical_inputs_fire_by_chance_less_than_once_in_ten_thousand(rows: int) -> None:
    (alert,) = [alert for alert in alerts(TERMS["every model"]) if alert.name == "AtypicalInputs"]
    for tested in (100, 1000, 18_000, 10**6):
        mean = 5 * tested / (rows + 1)
        variance = mean * (rows - 4) * (rows + 1 + tested) / ((rows + 1) * (rows + 2))
        fewest = max(15, math.ceil(mean + alert.limit * math.sqrt(variance)))
        assert atypical_p_value(fewest, tested, rows) < 1e-4
        assert atypical_p_value(fewest, tested, rows) > 1e-6 or fewest == 15


def test_every_rule_of_a_model_tells_its_versions_apart() -> None:
    for expr in expressions(TERMS["every model"]):
        for grouping in re.findall(r"(?:by|on) \(([^)]*)\)", expr):
            labels = grouping.split(", ")
            assert ("model" in labels) == ("version" in labels), expr

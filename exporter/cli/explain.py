"""``inference-exporter explain-threshold``: what a detector's settings mean, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from exporter.cli import console

if TYPE_CHECKING:
    from exporter.detectors.mmd.dependence import Dependence
    from exporter.detectors.mmd.online import OnlineMMD
    from exporter.offline.explain import Delay

_EXAMPLE_RATES = (1.0, 10.0, 100.0)


def explain_threshold(
    reference: Annotated[
        Path, typer.Argument(help="A detector made by `inference-exporter fit`, or a checkpoint.")
    ],
    requests_per_second: Annotated[
        float | None, console.positive("Requests a second that the service answers.")
    ] = None,
    max_per_second: console.MaxPerSecond = None,
    runs: Annotated[int, typer.Option(min=10, max=10_000, help="Simulated streams for each shift.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
    as_json: console.AsJson = False,
    device: console.Device = "auto",
) -> None:
    """Say in plain words how often a detector is wrong, and how soon it sees a shift."""
    from exporter.offline.explain import horizon, simulate_delays
    from exporter.offline.fitting import load_fitted, seen_dependence

    requests = requests_per_second
    tests = min(filter(None, (requests, max_per_second)), default=None)
    detector = load_fitted(reference, device=device)
    dependence = seen_dependence(reference)
    rows = detector.reference
    with console.progress("simulating") as progress:
        delays = simulate_delays(detector, rows, runs=runs, seed=seed, progress=progress)
    if as_json:
        typer.echo(orjson.dumps(_as_object(detector, delays, tests, dependence), option=orjson.OPT_INDENT_2))
        return
    per_request = requests / tests if requests is not None and tests is not None else 1.0
    typer.echo("\n".join(_in_words(detector, len(rows), tests, requests)))
    if dependence is not None:
        typer.echo("\n" + "\n".join(_how_dependent(dependence)))
    typer.echo(f"\nHow soon a lasting shift is seen (median of {runs} simulated streams, in requests):")
    _print_delays(delays, per_request, tests)
    typer.echo(
        f"A dash: fewer than half were seen within {horizon(detector) * per_request:,.0f} requests.\n"
        "Shifts are in standard deviations of the reference.\n"
        "A longer window sees smaller shifts; a shorter one sees large ones sooner."
    )


def _in_words(detector: OnlineMMD, rows: int, tests: float | None, requests: float | None) -> list[str]:
    """What window, run length and rate mean."""
    from exporter.offline.explain import Rate, in_words

    many = len(detector.windows) > 1
    lines = [
        f"Each test compares the last {', '.join(map(str, detector.windows))} observations "
        f"with a reference of {rows:,}.",
        *_how_often(detector, rows, ", all windows together" if many else ""),
        "",
    ]
    if tests is None:
        examples = [Rate.of(detector, example) for example in _EXAMPLE_RATES]
        return [
            *lines,
            "What that is in time depends on how many tests are made a second:",
            *(
                f"  at {rate.tests_per_second:g} a second, one in {in_words(rate.seconds_between)}: "
                f"{_count(rate.per_month)} a month"
                for rate in examples
            ),
            "Give yours with --max-per-second, or --requests-per-second where all are tested.",
        ]
    rate = Rate.of(detector, tests)
    share = f" (of {requests:g} requests)" if requests is not None and requests > tests else ""
    spans = ", ".join(map(in_words, rate.window_seconds))
    lines += [
        f"At {tests:g} tests a second{share} that is {'at most ' if detector.confidence > 0.5 else ''}"
        f"one false alarm in {in_words(rate.seconds_between)}, "
        f"{_count(rate.per_month)} a month.",
        f"The window{'s look' if many else ' looks'} back over {spans}.",
    ]
    if rate.per_month > 5:
        lines.append(
            f"For one a week ({7 * 86400 * tests:,.0f} tests): "
            f"inference-exporter fit ... --false-alarm-interval 7d --max-per-second {tests:g}"
        )
    if detector.report.warnings:
        lines += ["", *(f"Caution: {warning}." for warning in detector.report.warnings)]
    return lines


def _how_often(detector: OnlineMMD, rows: int, together: str) -> list[str]:
    """The run length, how sure it is, and what an average is."""
    length, spread = detector.expected_run_length, detector.report.spread
    average = "as with any such average, a third of the waits are shorter than 0.4 of it."
    if detector.confidence > 0.5:
        found = detector.report.calibrated_run_length or length
        return [
            "While nothing changes, a false alarm comes at most once in "
            f"{length:,.0f} tests on average{together};",
            average,
            f"That holds for {detector.confidence:.4g} of all references of {rows:,} rows of the same "
            f"traffic: for the typical one it is once in {found:,.0f}.",
        ]
    return [
        f"While nothing changes, a false alarm comes once in {length:,.0f} tests on average{together};",
        average,
        f"For two references of {rows:,} rows in three it is between {length / spread:,.0f} and "
        f"{length * spread:,.0f}:",
        f"fit with --confidence 0.9 (a key of drift, too) to have at least {length:,.0f} for nine in ten.",
    ]


def _how_dependent(dependence: Dependence) -> list[str]:
    """What the stream so far was like, and what that means for run length and delay."""
    lines = [f"The stream that it has seen so far ({dependence.rows:,} observations counted):"]
    worth = zip(dependence.windows, dependence.effective_sample_ratio, strict=True)
    dependent = [(window, ratio) for window, ratio in worth if ratio < 1.0]
    if not dependent:
        lines[0] += " no dependence between neighbours was found in it."
    for window, ratio in dependent:
        lines.append(
            f"  a window of {window} holds as much as {window * ratio:.0f} independent observations "
            f"(each is worth {ratio:.2f}), for which the statistic is corrected."
        )
    if dependent:
        lines.append(
            "The run length holds with that correction; a shift is seen later than in the table below."
        )
    if dependence.reason:
        lines.append(f"Caution: {dependence.reason}.")
    return lines


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _print_delays(delays: list[Delay], per_request: float, tests: float | None) -> None:
    from rich.table import Table

    from exporter.offline.explain import DIRECTIONS, SHIFTS, in_words

    def cell(median: float | None) -> str:
        if median is None:
            return "-"
        text = f"{median * per_request:,.0f}"
        return text if tests is None else f"{text} ({in_words(median / tests)})"

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("shift", *DIRECTIONS):
        table.add_column(name, justify="right")
    medians = {(delay.direction, delay.shift): delay.median for delay in delays}
    for shift in SHIFTS:
        table.add_row(f"{shift:g}", *(cell(medians[name, shift]) for name in DIRECTIONS))
    console.print_table(table)


def _as_object(
    detector: OnlineMMD, delays: list[Delay], tests: float | None, dependence: Dependence | None
) -> dict[str, object]:
    from exporter.offline.explain import Rate

    rate = None if tests is None else Rate.of(detector, tests)
    return {
        "windows": detector.windows,
        "thresholds": detector.thresholds.tolist(),
        "expected_run_length": detector.expected_run_length,
        "confidence": detector.confidence,
        "calibrated_run_length": detector.report.calibrated_run_length,
        "spread": detector.report.spread,
        "effective_sample_ratio": None if dependence is None else dependence.effective_sample_ratio.tolist(),
        "dependence_reason": None if dependence is None else dependence.reason,
        "tests_per_second": tests,
        "seconds_between_false_alarms": rate.seconds_between if rate else None,
        "false_alarms_per_month": rate.per_month if rate else None,
        "delays": [
            {"shift": each.shift, "direction": each.direction, "median_tests": each.median, "seen": each.seen}
            for each in delays
        ],
    }

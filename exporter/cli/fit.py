"""``inference-exporter fit``: reference embeddings in, calibrated detector out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli import console
from exporter.config.types import parse_duration
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from exporter.offline.fitting import Fitted


def fit(
    reference: Annotated[
        Path,
        typer.Argument(
            help="Embeddings of normal traffic: .npy, .npz, .csv or .parquet, one row for each observation; "
            "or a folder in which alibi-detect saved an MMDDriftOnline."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the detector is written (.npz).")] = Path("reference.npz"),
    window: Annotated[
        str | None, typer.Option(help="Observations in a test: 50 (the default), or several: 10,50,250.")
    ] = None,
    expected_run_length: Annotated[
        float | None, console.positive("Mean number of tests between false alarms (10000 by default).")
    ] = None,
    false_alarm_interval: Annotated[
        str | None, typer.Option(help="The same in time, as 7d; needs --max-per-second.")
    ] = None,
    max_per_second: console.MaxPerSecond = None,
    confidence: Annotated[
        float,
        typer.Option(
            help="Share of references with which false alarms are at least that rare, from 0.5 (on average) "
            "to below 1."
        ),
    ] = 0.5,
    bandwidth: Annotated[
        float | None, console.positive("Sigma of the kernel; by default from the median distance.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes the calibration repeatable.")] = None,
    device: console.Device = "auto",
    key: console.Key = None,
) -> None:
    """Calibrate a detector on reference embeddings; it takes seconds."""
    from exporter.offline.fitting import FitRequest, fit_file

    request = FitRequest(
        windows=_windows(window),
        expected_run_length=expected_run_length,
        false_alarm_interval=_seconds(false_alarm_interval),
        max_per_second=max_per_second,
        confidence=confidence,
        bandwidth=bandwidth,
        seed=seed,
        device=device,
        key=key,
    )
    with console.progress("calibrating") as progress:
        fitted = fit_file(reference, out, request, progress)
    typer.echo("\n".join(_in_words(fitted, out, max_per_second)))


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(parse_duration(text))
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        fix = "give seconds, or text such as 30s, 15m, 12h or 7d"
        raise ConfigError(f"--false-alarm-interval: {text!r}; {fix}")
    return seconds


def _windows(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        raise ConfigError(f"--window: {text!r}; give a whole number, or several such as 10,50,250") from None


def _in_words(fitted: Fitted, out: Path, max_per_second: float | None) -> list[str]:
    """What was found, in a few lines."""
    from exporter.offline.explain import Rate, in_words

    detector, report = fitted.detector, fitted.detector.report
    windows = zip(detector.windows, detector.thresholds, fitted.null_std, strict=True)
    rate = option = ""
    if max_per_second is not None:
        seconds = Rate.of(detector, max_per_second).seconds_between
        rate = f", one in {in_words(seconds)} at {max_per_second:g} tests a second"
        option = f" --max-per-second {max_per_second:g}"
    return [
        f"{out}: {fitted.rows:,} embeddings of length {detector.n_features}, "
        f"calibrated in {fitted.seconds:.1f} s",
        *(
            f"  window {window}: threshold {threshold:.4g}, {threshold / std:.1f} times the statistic's "
            f"standard deviation without drift ({std:.3g})"
            for window, threshold, std in windows
        ),
        f"  bandwidth: {detector.bandwidth:.4g}",
        f"  false alarms: {_how_often(detector.confidence)} in {detector.expected_run_length:,.0f} tests "
        f"on average{rate}",
        f"  calibration: {report.runs:,} simulated runs; "
        f"tail of {report.exceedances:,}, shape {report.shape:.2f}, {report.fit_distance:.3f} from its fit"
        + (", extrapolated" if report.extrapolated else ""),
        *(f"  warning: {warning}" for warning in report.warnings),
        *(f"  note: {note}" for note in fitted.notes),
        f"Next: inference-exporter explain-threshold {out}{option}",
    ]


def _how_often(confidence: float) -> str:
    return f"for {confidence:.4g} of references at most one" if confidence > 0.5 else "one"

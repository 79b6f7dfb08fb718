"""``inference-exporter fit``: reference embeddings in, calibrated detector out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli import console

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
        float | None, typer.Option(help="Mean number of tests between false alarms (10000 by default).")
    ] = None,
    false_alarm_interval: Annotated[
        str | None, typer.Option(help="The same in time, as 7d; needs --max-per-second.")
    ] = None,
    max_per_second: Annotated[
        float | None, typer.Option(help="Tests a second in operation (sample.max_per_second).")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="Sigma of the kernel; by default from the median distance.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes the calibration repeatable.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    key: Annotated[
        str | None, typer.Option(help="The array of an npz, or the column of lists of a parquet file.")
    ] = None,
) -> None:
    """Calibrate a detector on reference embeddings; it takes seconds."""
    from exporter.offline.fitting import FitRequest, fit_file

    request = FitRequest(
        windows=console.windows(window),
        expected_run_length=console.positive("--expected-run-length", expected_run_length),
        false_alarm_interval=console.duration("--false-alarm-interval", false_alarm_interval),
        max_per_second=console.positive("--max-per-second", max_per_second),
        bandwidth=console.positive("--bandwidth", bandwidth),
        seed=seed,
        device=device,
        key=key,
    )
    with console.progress("calibrating") as progress:
        fitted = fit_file(reference, out, request, progress)
    for line in summary(fitted, out, max_per_second):
        typer.echo(line)


def summary(fitted: Fitted, out: Path, max_per_second: float | None) -> list[str]:
    """What was found, in a few lines."""
    from exporter.offline.explain import Rate, in_words

    detector, report = fitted.detector, fitted.detector.report
    lines = [
        f"{out}: {fitted.rows:,} embeddings of length {detector.n_features}, "
        f"calibrated in {fitted.seconds:.1f} s"
    ]
    for window, threshold, std in zip(detector.windows, detector.thresholds, fitted.null_std, strict=True):
        lines.append(
            f"  window {window}: threshold {threshold:.4g}, {threshold / std:.1f} times the statistic's "
            f"standard deviation without drift ({std:.3g})"
        )
    lines.append(f"  bandwidth: {detector.bandwidth:.4g}")
    length = f"  false alarms: one in {detector.expected_run_length:,.0f} tests on average"
    if max_per_second is not None:
        rate = Rate.of(detector, max_per_second)
        length += f", one in {in_words(rate.seconds_between)} at {max_per_second:g} tests a second"
    lines.append(length)
    lines.append(
        f"  calibration: {report.runs:,} simulated runs; "
        f"tail of {report.exceedances:,}, shape {report.shape:.2f}, {report.fit_distance:.3f} from its fit"
        + (", extrapolated" if report.extrapolated else "")
    )
    lines += [f"  warning: {warning}" for warning in report.warnings]
    lines += [f"  note: {note}" for note in fitted.notes]
    option = f" --max-per-second {max_per_second:g}" if max_per_second is not None else ""
    lines.append(f"Next: inference-exporter explain-threshold {out}{option}")
    return lines

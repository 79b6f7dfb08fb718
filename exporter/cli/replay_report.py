"""What a replay found: as JSON, as text, and as a file of verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.table import Table

from exporter.cli import console
from exporter.detectors.mmd.online import OnlineMMD
from exporter.errors import ConfigError
from exporter.offline.recording import Recording
from exporter.offline.replay import Replay

_SHOWN = 20


def as_object(detector: OnlineMMD, recording: Recording, result: Replay) -> dict[str, Any]:
    """The result as one JSON object; rows count from 0."""
    ids = recording.request_ids
    return {
        "drift": result.is_drift,
        "observations": int(result.refused.size),
        "refused": int(result.refused.sum()),
        "expected_run_length": detector.expected_run_length,
        "windows": [
            {
                "window": window,
                "threshold": float(result.thresholds[k]),
                "tests": int(np.count_nonzero(~np.isnan(result.ratio[:, k]))),
                "alarms": int(np.count_nonzero(result.ratio[:, k] > 1.0)),
                "largest_ratio": _largest(result, k),
            }
            for k, window in enumerate(result.windows)
        ],
        "episodes": [
            {
                "window": episode.window,
                "first_row": episode.first_row,
                "last_row": episode.last_row,
                "request_id": ids[episode.first_row] if ids else None,
                "ended": episode.ended,
                "alarms": episode.alarms,
                "peak_ratio": episode.peak_ratio,
                "peak_row": episode.peak_row,
                "moved_dimensions": episode.moved_dimensions,
            }
            for episode in result.episodes
        ],
    }


def _largest(result: Replay, column: int) -> float | None:
    ratio = result.ratio[:, column]
    tested = ratio[~np.isnan(ratio)]
    return float(tested.max()) if tested.size else None


def print_report(detector: OnlineMMD, recording: Recording, result: Replay, stream: Path) -> None:
    """Print the result for a person to read."""
    refused = int(result.refused.sum())
    held = f", {refused:,} with NaN or infinity refused" if refused else ""
    typer.echo(f"{stream}: {result.refused.size:,} observations{held}")
    for k, window in enumerate(result.windows):
        largest = _largest(result, k)
        tests = int(np.count_nonzero(~np.isnan(result.ratio[:, k])))
        if largest is None:
            typer.echo(f"  window {window}: never filled, no test was made")
        else:
            typer.echo(
                f"  window {window}: {tests:,} tests against {result.thresholds[k]:.4g}; "
                f"largest statistic {largest:.2f} of the threshold"
            )
    if not result.is_drift:
        typer.echo("No drift.")
        return
    tested = int(np.count_nonzero(~np.isnan(result.ratio).all(axis=1)))
    expected = tested / detector.expected_run_length
    typer.echo(
        f"Drift: {len(result.episodes)} episode{'s' if len(result.episodes) > 1 else ''}; "
        f"without drift, {expected:.2g} false alarms are to be expected over so many tests."
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("from row", "to row", "window", "alarms", "peak", "at row"):
        table.add_column(name, justify="right")
    table.add_column("moved most (dimension: shift in standard deviations)")
    if recording.request_ids:
        table.add_column("request")
    for episode in result.episodes[:_SHOWN]:
        moved = ", ".join(f"{dimension}: {shift:+.1f}" for dimension, shift in episode.moved_dimensions[:3])
        cells = [
            f"{episode.first_row:,}",
            f"{episode.last_row:,}" if episode.ended else "the end",
            str(episode.window),
            f"{episode.alarms:,}",
            f"{episode.peak_ratio:.2f}",
            f"{episode.peak_row:,}",
            moved,
        ]
        if recording.request_ids:
            cells.append(recording.request_ids[episode.first_row] or "")
        table.add_row(*cells)
    console.output().print(table)
    if len(result.episodes) > _SHOWN:
        typer.echo(f"... and {len(result.episodes) - _SHOWN:,} more; --json lists them all")


def write_verdicts(path: Path, result: Replay) -> None:
    """Write every verdict to a CSV file.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    n, k = result.ratio.shape
    rows, columns = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    window = np.asarray(result.windows)[columns]
    statistic, ratio = result.test_stat.ravel(), result.ratio.ravel()
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write("row,window,test_stat,threshold,is_drift\n")
            for i, w, s, r, column in zip(rows, window, statistic, ratio, columns, strict=True):
                value = "" if np.isnan(s) else f"{s:.9g}"
                file.write(f"{i},{w},{value},{result.thresholds[column]:.9g},{int(r > 1.0)}\n")
    except OSError as error:
        raise ConfigError(f"--out: {path} cannot be written ({error.strerror}); give another path") from error

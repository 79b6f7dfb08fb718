"""``inference-exporter replay``: what a detector would have said about a recorded stream."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from exporter.cli import console
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from exporter.detectors.mmd.online import OnlineMMD
    from exporter.offline.recording import Recording
    from exporter.offline.replay import Replay

EXIT_DRIFT = 3
_SHOWN_EPISODES = 20
_DRAWN_POINTS = 4000
_PICTURES = (".png", ".svg", ".pdf")


def replay(
    stream: Annotated[
        Path, typer.Argument(help="Embeddings in the order observed: .npy, .npz, .csv, .parquet or .jsonl.")
    ],
    reference: Annotated[Path, typer.Option(help="A detector made by `inference-exporter fit`.")],
    plot: Annotated[Path | None, typer.Option(help="Draw the statistic over its threshold (.png).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every verdict: row, window, statistic, threshold (.csv).")
    ] = None,
    as_json: console.AsJson = False,
    key: console.Key = None,
    device: console.Device = "auto",
) -> None:
    """Test a recorded stream; exit code 3 if it drifted, 0 if not, 2 if the input is bad."""
    from exporter.offline.fitting import load_fitted
    from exporter.offline.recording import read_recording
    from exporter.offline.replay import replay as run

    if plot is not None:
        _check_plot(plot)
    detector = load_fitted(reference, device=device)
    recording = read_recording(stream, key=key)
    with console.progress("replaying") as progress:
        result = run(detector, recording.embeddings, progress=progress)
    if out is not None:
        _write_verdicts(out, result)
    if plot is not None:
        _draw(result, plot, title=stream.name)
    if as_json:
        typer.echo(orjson.dumps(_as_object(detector, recording, result), option=orjson.OPT_INDENT_2))
    else:
        typer.echo("\n".join(_in_words(detector, result, stream)))
        if result.is_drift:
            _print_episodes(recording, result)
        for path in filter(None, (out, plot)):
            typer.echo(f"Written: {path}")
    if result.is_drift:
        raise typer.Exit(EXIT_DRIFT)


def _as_object(detector: OnlineMMD, recording: Recording, result: Replay) -> dict[str, Any]:
    """The result as one JSON object; rows count from 0."""
    ids = recording.request_ids
    return {
        "drift": result.is_drift,
        "observations": int(result.refused.size),
        "refused": int(result.refused.sum()),
        "expected_run_length": detector.expected_run_length,
        "windows": _windows(result),
        "episodes": [
            {**asdict(episode), "request_id": ids[episode.first_row] if ids else None}
            for episode in result.episodes
        ],
    }


def _windows(result: Replay) -> list[dict[str, Any]]:
    """What each window found."""
    import numpy as np

    # NaN stands where no test was made.
    ratios = [column[~np.isnan(column)] for column in result.ratio.T]
    return [
        {
            "window": window,
            "threshold": float(threshold),
            "tests": ratio.size,
            "alarms": int((ratio > 1.0).sum()),
            "largest_ratio": float(ratio.max()) if ratio.size else None,
        }
        for window, threshold, ratio in zip(result.windows, result.thresholds, ratios, strict=True)
    ]


def _in_words(detector: OnlineMMD, result: Replay, stream: Path) -> list[str]:
    refused = int(result.refused.sum())
    held = f", {refused:,} with NaN or infinity refused" if refused else ""
    lines = [f"{stream}: {result.refused.size:,} observations{held}"]
    windows = _windows(result)
    for found in windows:
        said = "never filled, no test was made"
        if found["tests"]:
            said = (
                f"{found['tests']:,} tests against {found['threshold']:.4g}; "
                f"largest statistic {found['largest_ratio']:.2f} of the threshold"
            )
        lines.append(f"  window {found['window']}: {said}")
    if not result.is_drift:
        return [*lines, "No drift."]
    expected = max(found["tests"] for found in windows) / detector.expected_run_length
    episodes = f"{len(result.episodes)} episode{'s' if len(result.episodes) > 1 else ''}"
    said = f"without drift, {expected:.2g} false alarms are to be expected over so many tests."
    return [*lines, f"Drift: {episodes}; {said}"]


def _print_episodes(recording: Recording, result: Replay) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("from row", "to row", "window", "alarms", "peak", "at row"):
        table.add_column(name, justify="right")
    table.add_column("moved most (dimension: shift in standard deviations)")
    if recording.request_ids:
        table.add_column("request")
    for episode in result.episodes[:_SHOWN_EPISODES]:
        table.add_row(
            f"{episode.first_row:,}",
            f"{episode.last_row:,}" if episode.ended else "the end",
            str(episode.window),
            f"{episode.alarms:,}",
            f"{episode.peak_ratio:.2f}",
            f"{episode.peak_row:,}",
            ", ".join(f"{dimension}: {shift:+.1f}" for dimension, shift in episode.moved_dimensions[:3]),
            *([recording.request_ids[episode.first_row] or ""] if recording.request_ids else []),
        )
    console.print_table(table)
    if len(result.episodes) > _SHOWN_EPISODES:
        typer.echo(f"... and {len(result.episodes) - _SHOWN_EPISODES:,} more; --json lists them all")


def _write_verdicts(path: Path, result: Replay) -> None:
    with console.writing("--out", path), path.open("w", encoding="utf-8") as file:
        file.write("row,window,test_stat,threshold,is_drift\n")
        for row, (statistics, ratios) in enumerate(zip(result.test_stat, result.ratio, strict=True)):
            columns = zip(result.windows, result.thresholds, statistics, ratios, strict=True)
            for window, threshold, statistic, ratio in columns:
                value = "" if math.isnan(statistic) else f"{statistic:.9g}"
                file.write(f"{row},{window},{value},{threshold:.9g},{int(ratio > 1.0)}\n")


def _check_plot(path: Path) -> None:
    """Say before the work begins that the picture cannot be drawn."""
    if path.suffix.lower() not in _PICTURES:
        raise ConfigError(f"--plot: {path}; give a file name that ends in {', '.join(_PICTURES)}")
    if importlib.util.find_spec("matplotlib") is None:
        fix = "pip install 'inference-exporter[plot]', or leave --plot out"
        raise ConfigError(f"--plot needs matplotlib; {fix}")


def _draw(result: Replay, path: Path, *, title: str) -> None:
    """Write a picture of the statistic over its threshold, and of the episodes."""
    import numpy as np
    from matplotlib.figure import Figure

    n, k = result.ratio.shape
    size = max(1, -(-n // _DRAWN_POINTS))
    padded = np.full((-(-n // size) * size, k), np.nan)
    padded[:n] = result.ratio
    # Of every ``size`` neighbours the largest: a peak must not fall between the points that are drawn.
    peaks = np.fmax.reduce(padded.reshape(-1, size, k), axis=1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    names = [f"window {window}" for window in result.windows]
    axes.plot(np.arange(0, len(padded), size), peaks, linewidth=1, label=names)
    axes.axhline(1.0, color="0.3", linestyle="--", linewidth=1, label="threshold")
    for index, episode in enumerate(result.episodes):
        end = max(episode.last_row, episode.first_row + 1)
        label = "drift" if index == 0 else None
        axes.axvspan(episode.first_row, end, color="tab:red", alpha=0.12, linewidth=0, label=label)
    axes.set(xlim=(0, max(1, n - 1)), xlabel="observation", ylabel="test statistic / threshold", title=title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left")
    with console.writing("--plot", path):
        figure.savefig(path, dpi=120)

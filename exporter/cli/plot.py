"""A picture of a replay: the statistic over its threshold, and the episodes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from exporter.errors import ConfigError
from exporter.offline.replay import Replay

_POINTS = 4000
_FORMATS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Say before the work begins that the picture cannot be drawn.

    Raises
    ------
    ConfigError
        If matplotlib is missing, or the name has another ending than a picture's.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--plot: {path}; give a file name that ends in {', '.join(_FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "--plot needs matplotlib; pip install 'inference-exporter[plot]', or leave --plot out"
        )


def draw(result: Replay, path: Path, *, title: str) -> None:
    """Write the picture.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    n = result.refused.size
    size = max(1, -(-n // _POINTS))
    for k, window in enumerate(result.windows):
        rows, ratio = _largest_of_each(result.ratio[:, k], size)
        axes.plot(rows, ratio, linewidth=1, label=f"window {window}")
    axes.axhline(1.0, color="0.3", linestyle="--", linewidth=1, label="threshold")
    for index, episode in enumerate(result.episodes):
        axes.axvspan(
            episode.first_row,
            max(episode.last_row, episode.first_row + 1),
            color="tab:red",
            alpha=0.12,
            linewidth=0,
            label="drift" if index == 0 else None,
        )
    axes.set_xlim(0, max(1, n - 1))
    axes.set_xlabel("observation")
    axes.set_ylabel("test statistic / threshold")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise ConfigError(
            f"--plot: {path} cannot be written ({error.strerror}); give another path"
        ) from error


def _largest_of_each(
    ratio: np.ndarray[tuple[int, ...], np.dtype[np.float64]], size: int
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.int64]], np.ndarray[tuple[int, ...], np.dtype[np.float64]]
]:
    """Of every ``size`` neighbours the largest: a peak must not fall between the points that are drawn."""
    padded = np.full(-(-ratio.size // size) * size, np.nan)
    padded[: ratio.size] = ratio
    return np.arange(padded.size // size) * size, np.fmax.reduce(padded.reshape(-1, size), axis=1)

"""A recorded stream through a detector: the verdicts and episodes that a running service would have given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.base import Detector
from exporter.detectors.mmd.repeats import REACH
from exporter.drift.evidence import moved_dimensions
from exporter.drift.window_metrics import Episode

_BATCH = 4096


@dataclass(frozen=True, slots=True)
class ReplayedEpisode:
    """One episode of drift, by the rule of :class:`exporter.drift.window_metrics.Episode`.

    Rows are those of the recording, from 0.
    """

    window: int  # length of the one that spoke
    first_row: int
    last_row: int  # the last one above the threshold
    ended: bool  # whether two windows of tests below half the threshold followed
    peak_ratio: float  # the largest statistic over its threshold
    peak_row: int
    alarms: int  # tests above the threshold
    moved_dimensions: tuple[tuple[int, float], ...]  # at the onset, with their shifts, the largest first


@dataclass(frozen=True, slots=True)
class Replay:
    """Verdicts on a recorded stream of n rows by k windows."""

    windows: tuple[int, ...]
    thresholds: NDArray[np.float64]  # (k,) at the end
    test_stat: NDArray[np.float64]  # (n, k); NaN where no test was made
    ratio: NDArray[np.float64]  # (n, k), the statistic over the threshold of its time
    refused: NDArray[np.bool_]  # (n,) rows with NaN or infinity
    episodes: tuple[ReplayedEpisode, ...]  # in the order of their onsets

    @property
    def is_drift(self) -> bool:
        """Whether any test exceeded its threshold."""
        return bool(self.episodes)


def replay(detector: Detector, embeddings: Any, *, progress: Callable[[float], None] | None = None) -> Replay:
    """Run (n, d) recorded embeddings through a detector; its window is empty before and after."""
    detector.reset()
    n, k = len(embeddings), len(detector.windows)
    test_stat, ratio = np.full((n, k), np.nan), np.full((n, k), np.nan)
    refused, left_out = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    for start in range(0, n, _BATCH):
        rows = slice(start, min(start + _BATCH, n))
        scores = detector.update(embeddings[rows])
        test_stat[rows] = scores.test_stat_by_window
        ratio[rows] = scores.test_stat_by_window / scores.threshold_by_window
        refused[rows], left_out[rows] = scores.refused, scores.left_out
        if progress is not None:
            progress(rows.stop / n)
    accepted = np.flatnonzero(~left_out)
    longest = detector.windows[-1]

    def moved(row: int, window: int) -> tuple[tuple[int, float], ...]:
        # The detector is past the onset: it gets once more what its window held there.
        # Repeats are left out or not by how many there were before.
        end = int(np.searchsorted(accepted, row)) + 1
        start = max(0, int(accepted[max(0, end - longest)]) - 2 * REACH)
        detector.reset()
        detector.update(embeddings[start : row + 1])
        return moved_dimensions(detector.evidence(window))

    episodes = [
        episode
        for column, window in enumerate(detector.windows)
        for episode in _episodes(ratio[:, column], window, moved)
    ]
    detector.reset()
    return Replay(
        windows=detector.windows,
        thresholds=detector.thresholds,
        test_stat=test_stat,
        ratio=ratio,
        refused=refused,
        episodes=tuple(sorted(episodes, key=lambda episode: (episode.first_row, episode.window))),
    )


def _episodes(
    ratio: NDArray[np.float64], window: int, moved: Callable[[int, int], tuple[tuple[int, float], ...]]
) -> list[ReplayedEpisode]:
    """Episodes of one window; rows without a test do not count towards the quiet that ends one."""
    tested = np.flatnonzero(~np.isnan(ratio))
    episode, found = Episode(window), []
    alarms: list[int] = []

    def close(*, ended: bool) -> None:
        rows = np.array(alarms)
        peak = int(rows[np.argmax(ratio[rows])])
        found.append(
            ReplayedEpisode(
                window=window,
                first_row=alarms[0],
                last_row=alarms[-1],
                ended=ended,
                peak_ratio=float(ratio[peak]),
                peak_row=peak,
                alarms=len(alarms),
                moved_dimensions=moved(alarms[0], window),
            )
        )
        alarms.clear()

    for row, each in zip(tested.tolist(), ratio[tested].tolist(), strict=True):
        episode.step(each, 1.0)
        if each > 1.0:
            alarms.append(row)
        if alarms and not episode.active:
            close(ended=True)
    if alarms:
        close(ended=False)
    return found

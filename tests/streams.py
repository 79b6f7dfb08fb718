"""Streams and detectors for the tests of the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from exporter.detectors import Evidence, Scores
from exporter.errors import InvalidEmbedding
from exporter.observation import Observation

D = 4


def observations(
    rows: Iterable[Any], *, start: int = 0, step: float = 1.0, model: str = "m"
) -> list[Observation]:
    """One for each row, with the ids "0", "1", ... and as many seconds."""
    return [
        Observation(model, "hook", float(n * step), embedding=row, request_id=str(n))
        for n, row in enumerate(rows, start)
    ]


def normal(n: int, *, seed: int = 0, shift: float = 0.0, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


class Samples:
    """Values of a registry, read when they are asked for."""

    def __init__(self, registry: CollectorRegistry, model: str = "m") -> None:
        self.registry = registry
        self.model = model

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": self.model, "version": "", **labels})

    def state(self, detector: str = "mmd") -> str:
        """The one state that shows 1."""
        states = [
            sample.labels["state"]
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "drift_detector_state"
            and sample.labels["detector"] == detector
            and sample.value
        ]
        assert len(states) == 1
        return states[0]


class PlainDetector:
    """A transparent detector: the statistic is the mean of the window's first coordinates.

    ``before_update`` runs at the beginning of each update.
    """

    n_features = D
    expected_run_length = 100.0

    def __init__(
        self,
        windows: tuple[int, ...] = (3,),
        threshold: float = 1.0,
        before_update: Callable[[], None] | None = None,
    ) -> None:
        self.windows = windows
        self.thresholds = np.full(len(windows), threshold)
        self.before_update = before_update
        self.seen: list[float] = []
        self.updates: list[int] = []
        self.resets = 0
        self._writing = threading.Lock()

    def update(self, batch: Any) -> Scores:
        assert self._writing.acquire(blocking=False), "two writers"
        try:
            if self.before_update is not None:
                self.before_update()
            return self._update(np.asarray(batch))
        finally:
            self._writing.release()

    def _update(self, rows: np.ndarray) -> Scores:
        if rows.shape[1] != self.n_features:
            raise InvalidEmbedding("embedding: wrong length")
        self.updates.append(len(rows))
        refused = ~np.isfinite(rows).all(axis=1)
        stats = np.full((len(rows), len(self.windows)), np.nan)
        for n, row in enumerate(rows):
            if refused[n]:
                continue
            self.seen.append(float(row[0]))
            for column, window in enumerate(self.windows):
                if len(self.seen) >= window:
                    stats[n, column] = np.mean(self.seen[-window:])
        return Scores(
            test_stat=stats[:, 0],
            threshold=float(self.thresholds[0]),
            is_drift=stats[:, 0] > self.thresholds[0],
            refused=refused,
            windows=self.windows,
            test_stat_by_window=stats,
            threshold_by_window=self.thresholds,
        )

    def evidence(self, window: int | None = None) -> Evidence:
        values = np.array(self.seen[-(window or self.windows[-1]) :])
        return Evidence(np.array([0]), np.array([values.mean()]), -values)

    def reset(self) -> None:
        self.resets += 1
        self.seen.clear()

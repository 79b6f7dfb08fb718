"""From a checked reference to the thresholds: bandwidth, kernel matrix, calibration."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.calibration import Progress, calibrate
from exporter.detectors.mmd.fitted import Fitted
from exporter.detectors.mmd.kernel import Scaling, kernel_matrix, median_bandwidth
from exporter.detectors.validation import fit_memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What :meth:`OnlineMMD.fit` was asked for, checked; no ``bandwidth`` takes the median heuristic."""

    windows: tuple[int, ...]
    expected_run_length: float
    bandwidth: float | None
    feature_names: tuple[str, ...]
    block: int
    confidence: float


def learned(
    rows: NDArray[np.float64],
    asked: Asked,
    device: str,
    max_kernel_bytes: int,
    rng: np.random.Generator,
    progress: Progress | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Fitted]:
    """The (n, d) rows that fit into ``max_kernel_bytes``, the (k,) thresholds, and the rest."""
    rows, notes = fit_memory(rows, max_kernel_bytes, asked.windows, rng, asked.block)
    bandwidth = asked.bandwidth
    if bandwidth is None:
        bandwidth = median_bandwidth(rows - rows.mean(axis=0), rng)
    _, scaled = Scaling.of(rows, bandwidth, device)
    kernel = kernel_matrix(scaled.z, scaled.squared_norm)
    n = rows.shape[0]
    a = float((kernel.sum(axis=1, dtype=np.float64).sum() - n) / (n * (n - 1.0)))
    thresholds, report = calibrate(
        kernel, asked.windows, asked.expected_run_length, rng, progress, asked.block, asked.confidence
    )
    report = dataclasses.replace(report, warnings=(*notes, *report.warnings))
    for text in report.warnings:
        _log.warning("online MMD: %s", text)
    return (
        rows,
        thresholds,
        Fitted(
            asked.windows,
            asked.expected_run_length,
            bandwidth,
            a,
            report,
            asked.feature_names,
            asked.block,
            asked.confidence,
        ),
    )

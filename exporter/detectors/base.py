"""What a drift detector is: a thing that takes embeddings in order and gives a verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scores:
    """Verdicts on a batch of ``b`` observations, in the order in which they were given.

    A detector with several windows reports each of them in the ``*_by_window`` arrays (``k``
    columns, in the order of ``windows``); ``test_stat`` is then the largest ratio of a window's
    statistic to its own threshold, and ``threshold`` is 1. With one window they are the raw numbers.

    Parameters
    ----------
    test_stat
        (b,) float64; NaN while the window fills and for refused rows.
    threshold
        The value that ``test_stat`` has to exceed.
    is_drift
        (b,) bool.
    refused
        (b,) bool; rows with NaN or infinity, which leave no trace in the detector.
    windows
        The window lengths, in observations, ascending.
    test_stat_by_window
        (b, k) float64.
    threshold_by_window
        (k,) float64.
    uncorrected_by_window
        (b, k) float64, the statistics before the dependence of the stream was taken off; None from a
        detector that takes none off.
    repeated
        (b,) bool; rows that repeat, bit for bit, one shortly before them; None from a detector that does
        not look.
    witness
        (b,) float64, the mean kernel value of each row with the reference, NaN where it was left out:
        small is untypical; None from a detector without a kernel.
    skipped
        (b,) bool; those of ``repeated`` that are left out of the test: all, unless repeats prevail.
    """

    test_stat: NDArray[np.float64]
    threshold: float
    is_drift: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    windows: tuple[int, ...]
    test_stat_by_window: NDArray[np.float64]
    threshold_by_window: NDArray[np.float64]
    uncorrected_by_window: NDArray[np.float64] | None = None
    repeated: NDArray[np.bool_] | None = None
    witness: NDArray[np.float64] | None = None
    skipped: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls,
        test_stat_by_window: NDArray[np.float64],
        thresholds: NDArray[np.float64],
        refused: NDArray[np.bool_],
        windows: tuple[int, ...],
        uncorrected_by_window: NDArray[np.float64] | None = None,
        repeated: NDArray[np.bool_] | None = None,
        witness: NDArray[np.float64] | None = None,
        skipped: NDArray[np.bool_] | None = None,
    ) -> Scores:
        """The verdicts that (b, k) statistics and (k,) thresholds come to."""
        if len(windows) == 1:
            test_stat, threshold = test_stat_by_window[:, 0].copy(), float(thresholds[0])
        else:
            # fmax passes over the windows that are still filling.
            test_stat, threshold = np.fmax.reduce(test_stat_by_window / thresholds, axis=1), 1.0
        is_drift = test_stat > threshold
        return cls(
            test_stat,
            threshold,
            is_drift,
            refused,
            windows,
            test_stat_by_window,
            thresholds,
            uncorrected_by_window,
            repeated,
            witness,
            skipped,
        )

    @property
    def left_out(self) -> NDArray[np.bool_]:
        """(b,) bool; rows that did not enter the window: refused, or repeats that were skipped."""
        return self.refused if self.skipped is None else self.refused | self.skipped


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a window differs from the reference.

    Parameters
    ----------
    dimensions
        (m,) int64 indices of the dimensions that moved most, largest first.
    shifts
        (m,) float64, their shift (mean of the window minus mean of the reference) in standard
        deviations of the reference.
    witness
        (w,) float64, the mean kernel value of each member of the window, oldest first, with the
        reference: small is untypical.
    names
        What the ``dimensions`` are called; empty where they have no names.
    """

    dimensions: NDArray[np.int64]
    shifts: NDArray[np.float64]
    witness: NDArray[np.float64]
    names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, moved: NDArray[np.float64], witness: NDArray[np.float64], names: Sequence[str] = ()
    ) -> Evidence:
        """The ten that ``moved`` most of (d,) shifts, which are called ``names``."""
        order = np.argsort(-np.abs(moved), kind="stable")[:10].astype(np.int64)
        return cls(order, moved[order], witness, tuple(names[n] for n in order) if names else ())

    @classmethod
    def none(cls) -> Evidence:
        """That of an empty window."""
        return cls.of(np.zeros(0), np.zeros(0))


@runtime_checkable
class Detector(Protocol):
    """An online detector: one writer, observations in order, constant memory."""

    @property
    def n_features(self) -> int:
        """Length of the embeddings it takes."""

    @property
    def windows(self) -> tuple[int, ...]:
        """Window lengths, in observations, ascending."""

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """(k,) float64, the threshold of each window."""

    @property
    def expected_run_length(self) -> float:
        """Mean number of observations between false alarms, by calibration."""

    def update(self, batch: Any) -> Scores:
        """Take (b, d) or (d,) embeddings; give a verdict on each.

        Raises
        ------
        InvalidEmbedding
            If the length of the embeddings is not ``n_features``; the state is then unchanged.
        """

    def evidence(self, window: int | None = None) -> Evidence:
        """Say why the current window (the longest, if None) differs from the reference."""

    def reset(self) -> None:
        """Empty the window; keep reference and thresholds."""

"""What a stream's dependence does to the statistic, and the correction that takes it off.

Dependence moves the statistic up and spreads it out. How far, two estimates say: the likeness of rows at
each distance (:mod:`exporter.detectors.mmd.lags`) at once; the statistic's own largest values, beside
those of simulated streams, more exactly and later. The second is believed as far as the first bears it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.lags import Factors

FEWEST_MAXIMA = 40
_AGREE = 1.5
# Independent observations in a window, below which the statistic has another shape: the further out in its
# tail, the more of them. Measured on videos and sessions: at one alarm in three million, 12 were too few.
_FEW = 3.0
_FEW_A_DECADE = 5.0
_MEASURED_RUN_LENGTH = 10_000.0


@dataclass(frozen=True, slots=True)
class Null:
    """What the estimates are held against: a stream without drift or dependence, as it was simulated."""

    windows: tuple[int, ...]
    thresholds: NDArray[np.float64]  # (k,)
    kernel_mean: float  # of the reference, off the diagonal
    kernel_sd: float  # of its centred kernel values
    run_length: int  # windows in a simulated run
    expected_run_length: float = _MEASURED_RUN_LENGTH  # that the thresholds are for
    loud_maxima: tuple[float, ...] = ()  # (k,) 80 % point of a run's largest statistic; empty if unknown
    own: Factors | None = None  # of the reference itself, where its blocks are in the thresholds


@dataclass(frozen=True, slots=True)
class Dependence:
    """How dependent a stream is found to be, and what that does to the statistic.

    Parameters
    ----------
    windows
        Window lengths, in observations, ascending.
    effective_sample_ratio
        (k,) how many independent observations one of the stream is worth: 1 where there is no dependence.
    shift, scale
        (k,) the corrected statistic is (statistic - shift) / scale.
    observed_scale
        (k,) the scale by the statistic's own largest values alone; NaN until enough were seen.
    rows
        Observations that the estimates rest on, at most about 20,000.
    reason
        Why the verdicts may not have their calibrated false-alarm rate, in plain words; empty if they have.
    """

    windows: tuple[int, ...]
    effective_sample_ratio: NDArray[np.float64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    observed_scale: NDArray[np.float64]
    rows: int
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is no reason to doubt the verdicts."""
        return not self.reason

    @classmethod
    def none(cls, windows: tuple[int, ...], rows: int = 0, reason: str = "") -> Dependence:
        """That of a stream of which nothing is known, or no dependence."""
        k = len(windows)
        return cls(windows, np.ones(k), np.zeros(k), np.ones(k), np.full(k, np.nan), rows, reason)

    def because(self, reason: str) -> Dependence:
        """The same, with a reason for which the verdicts may not hold."""
        return replace(self, reason=reason)

    @classmethod
    def of(cls, factors: Factors, rows: int, null: Null) -> Dependence:
        """By the first estimate alone; relative to the dependence of the reference's own blocks."""
        if not factors.significant:
            return cls.none(null.windows, rows)
        own = null.own or Factors.none(len(null.windows))
        above = (factors.mean - 1.0) * factors.variance - (own.mean - 1.0) * own.variance
        return cls(
            windows=null.windows,
            effective_sample_ratio=1.0 / factors.spread,
            shift=np.maximum(above, 0.0) / (np.array(null.windows) - 1.0),
            scale=np.maximum(factors.spread / own.spread, 1.0),
            observed_scale=np.full(len(null.windows), np.nan),
            rows=rows,
        )

    def refined(
        self, maxima: NDArray[np.float64], mean: NDArray[np.float64], significant: bool, null: Null
    ) -> Dependence:
        """With the second estimate: (m, k) largest ones of as many tests as a run has, (k,) the mean."""
        observed = (np.quantile(maxima, 0.8, axis=0) - mean) / np.array(null.loud_maxima)
        ratio = observed / self.scale
        scale, effective = self.scale, self.effective_sample_ratio
        if significant:
            agree = (ratio <= _AGREE) & (ratio >= 1.0 / _AGREE)
            seen = np.maximum(observed, 1.0)
            effective = np.where(agree, effective * scale / seen, effective)
            # Values that are larger than explained at the 80 % point are more so further out.
            scale = np.where(agree, seen * np.sqrt(np.maximum(ratio, 1.0)), scale)
        found = replace(self, scale=scale, observed_scale=observed, effective_sample_ratio=effective)
        if (ratio > _AGREE).any():
            return found.because(
                f"the statistic's largest values are {ratio.max():.1f} times those that the dependence "
                "explains: false alarms are more frequent than asked"
            )
        return found

    def judged(self, enough: int, expected_run_length: float) -> Dependence:
        """With a reason, if the dependence is too strong, or was seen over fewer than ``enough`` rows."""
        if self.reason or not (self.effective_sample_ratio < 1.0).any():
            return self
        left = self.effective_sample_ratio * np.array(self.windows)
        rarer = max(0.0, np.log10(expected_run_length / _MEASURED_RUN_LENGTH))
        if left.min() < min(_FEW + _FEW_A_DECADE * rarer, 0.5 * self.windows[0]):
            at = int(left.argmin())
            return self.because(
                f"a window of {self.windows[at]} holds about {left[at]:.1f} independent observations, too "
                f"few for one false alarm in {expected_run_length:,.0f} tests: give a longer window, sample "
                "in time, or ask for less"
            )
        if self.rows < enough:
            return self.because(f"the dependence is learned from {self.rows} observations so far")
        return self

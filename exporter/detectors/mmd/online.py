"""Online MMD: an exact sliding-window two-sample test, at constant cost and memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from exporter.arrays import on_host, place, resolve_device
from exporter.detectors import storage
from exporter.detectors.base import Evidence, Scores
from exporter.detectors.mmd.calibration import CalibrationReport, Progress
from exporter.detectors.mmd.dependence import Dependence, Null
from exporter.detectors.mmd.dependence_estimator import DependenceEstimator, own_factors
from exporter.detectors.mmd.fitted import Fitted
from exporter.detectors.mmd.fitting import Asked, learned
from exporter.detectors.mmd.kernel import (
    SERIES,
    Scaling,
    Witness,
    squared_norms,
)
from exporter.detectors.mmd.lags import BLOCK
from exporter.detectors.mmd.repeats import REACH, Repeats, are_natural, pick, without_neighbours
from exporter.detectors.mmd.sliding_window import SlidingWindow
from exporter.detectors.mmd.typicality import atypical_bound
from exporter.detectors.validation import (
    as_rows,
    check_block,
    check_confidence,
    check_positive,
    check_reference,
    check_windows,
)
from exporter.errors import ConfigError, DetectorFileError

_ENGINE = "online-mmd"
_CHUNK = 256


class OnlineMMD:
    """Has the stream left the reference? Tested at every observation.

    The unbiased squared MMD between the reference and the last W observations is ``A + B - 2 C``:
    the mean off-diagonal kernel value of the reference, of the window, and the mean over the window
    of the *witness* ``v(y) = mean_i k(x_i, y)``. A witness never changes once computed, so a batch
    of b observations costs one N x b product and one (W + b) x b product, and the state is a ring
    of W rows and W numbers. [Gretton et al., JMLR 2012.] Made by :meth:`fit` or :meth:`load`.

    The stream need not be independent: its dependence is learned while it runs and taken off the
    statistic (:attr:`dependence`). Rows that repeat one of the 250 before them, bit for bit, are left
    out as long as they are at most half of those, unless the reference repeats itself in any order.

    Not safe for concurrent use: one writer.
    """

    max_kernel_bytes: ClassVar[int] = 2 * 1024**3
    """Memory for the N x N kernel values during :meth:`fit`; larger references are subsampled."""

    def __init__(
        self, reference: NDArray[np.float64], thresholds: NDArray[np.float64], fitted: Fitted, device: str
    ) -> None:
        self.feature_names = fitted.feature_names
        self._fitted = fitted
        self._reference = reference
        self._thresholds = thresholds
        self._device = device
        self._std = reference.std(axis=0)
        self._scaling, rows = Scaling.of(reference, fitted.bandwidth, device)
        self._witness = Witness(rows, _CHUNK)
        self._z = rows.z
        self._skips_repeats = not are_natural(reference)
        self._null = Null(
            self.windows,
            thresholds,
            fitted.reference_kernel_mean,
            self._witness.kernel_sd,
            fitted.report.run_length,
            fitted.expected_run_length,
            fitted.report.loud_maxima,
            own_factors(self._witness, rows.z, fitted) if fitted.block > 1 else None,
        )
        self.reset()

    @classmethod
    def fit(
        cls,
        reference: Any,
        *,
        window: int | Sequence[int] = 50,
        expected_run_length: float = 10_000,
        bandwidth: float | None = None,
        device: str = "auto",
        seed: int | None = None,
        feature_names: Sequence[str] = (),
        block: int = 1,
        confidence: float = 0.5,
        progress: Progress | None = None,
    ) -> OnlineMMD:
        """Learn what normal is, and calibrate the thresholds.

        Parameters
        ----------
        reference
            (n, d) array of any real dtype, NumPy or torch; n >= 4 * window, finite, not constant.
        window
            Observations that are compared with the reference; several lengths are tested at once.
        expected_run_length
            Mean number of tests between false alarms, over all windows together; at least
            the longest window.
        bandwidth
            Sigma of the kernel; None takes the median heuristic.
        device
            ``"auto"`` (the reference's own CUDA device, else CUDA where torch is loaded and sees
            one, else NumPy), ``"cpu"`` (NumPy), ``"cuda"``, ``"cuda:1"``, or ``"torch:cpu"``.
        seed
            Makes the calibration repeatable.
        feature_names
            What the d dimensions are called, for the evidence; empty if they have no names.
        block
            Rows of the reference that stood together in time, where it consists of stretches of a stream:
            consecutive ones, in their order, n a multiple of it. They are resampled together, so that
            what depends on its neighbours in them may do so in operation. 1 for independent rows.
        confidence
            Share of references, from 0.5 to below 1, for which the true mean run length is to be at least
            the expected one; at 0.5 it is the expected one on average over references.
        progress
            Called with the share done, 0 to 1, from time to time.

        Raises
        ------
        InvalidReference
            If the reference breaks one of the rules above.
        ConfigError
            If an argument does, or the device is not there.
        """
        windows = check_windows(window)
        expected_run_length = check_positive("expected_run_length", expected_run_length, least=windows[-1])
        if bandwidth is not None:
            bandwidth = check_positive("bandwidth", bandwidth)
        device = resolve_device(device, reference)
        rows = check_reference(reference, windows)
        block = check_block(block, rows.shape[0])
        confidence = check_confidence(confidence)
        if block == 1:
            rows = check_reference(without_neighbours(rows), windows)
        asked = Asked(windows, expected_run_length, bandwidth, tuple(feature_names), block, confidence)
        rng = np.random.default_rng(seed)
        rows, thresholds, fitted = learned(rows, asked, device, cls.max_kernel_bytes, rng, progress)
        return cls(rows, thresholds, fitted, device)

    @property
    def n_features(self) -> int:
        """Length of the embeddings it takes."""
        return int(self._reference.shape[1])

    @property
    def windows(self) -> tuple[int, ...]:
        """Window lengths, in observations, ascending."""
        return self._fitted.windows

    @property
    def expected_run_length(self) -> float:
        """Mean number of tests between false alarms, by calibration."""
        return self._fitted.expected_run_length

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """(k,) float64, the threshold of each window."""
        return np.array(self._thresholds)

    @property
    def threshold(self) -> float:
        """What ``Scores.test_stat`` has to exceed: the threshold, or 1 with several windows."""
        return float(self._thresholds[0]) if len(self.windows) == 1 else 1.0

    @property
    def reference(self) -> NDArray[np.float64]:
        """(n, d) float64, what normal is; a copy."""
        return np.array(self._reference)

    @property
    def bandwidth(self) -> float:
        """Sigma of the kernel."""
        return self._fitted.bandwidth

    @property
    def block(self) -> int:
        """Rows of the reference that stood together in time; 1 where they are independent."""
        return self._fitted.block

    @property
    def confidence(self) -> float:
        """Share of references for which the run length is at least the expected one; 0.5 is on average."""
        return self._fitted.confidence

    @property
    def report(self) -> CalibrationReport:
        """How the thresholds were found, and whether to believe them."""
        return self._fitted.report

    @property
    def n_seen(self) -> int:
        """Observations taken since the start or the last :meth:`reset`, without those that were left out."""
        return self._window.count

    @cached_property
    def atypical_bound(self) -> float:
        """The witness below which an observation is atypical: see :func:`atypical_p_value`."""
        norms = squared_norms(self._z)
        parts = [slice(start, start + _CHUNK) for start in range(0, norms.size, _CHUNK)]
        return atypical_bound(np.concatenate([self._witness(self._z[at], norms[at])[0] for at in parts]))

    @property
    def dependence(self) -> Dependence:
        """How dependent the stream is, as far as it was seen, and whether the verdicts hold on it."""
        found = self._dependence.found
        if self._repeats.prevail:
            return found.because(
                f"{self._repeats.share:.0%} of the last {REACH} observations repeat one before them, bit for "
                "bit: so many are tested as they are, and alarm unless the period is long"
            )
        return found

    def update(self, batch: Any) -> Scores:
        """Take (b, d) or (d,) embeddings, in order; give a verdict on each.

        Rows with NaN or infinity are refused and leave no trace. The verdicts do not depend on how
        the stream is cut into batches, beyond the last bits of float32 kernel products.

        Raises
        ------
        InvalidEmbedding
            If the length of the embeddings is not ``n_features``; the state is then unchanged.
        """
        rows = as_rows(place(batch, self._device), self.n_features)
        k = len(self.windows)
        corrected, plain = np.full((rows.shape[0], k), np.nan), np.full((rows.shape[0], k), np.nan)
        witness = np.full(rows.shape[0], np.nan)
        finite = np.ones(rows.shape[0], dtype=np.bool_)
        repeated, skipped = np.zeros_like(finite), np.zeros_like(finite)
        for start in range(0, rows.shape[0], _CHUNK):
            chunk = rows[start : start + _CHUNK]
            taken = self._scaling.apply(chunk)
            z, norms = taken.z, taken.squared_norm
            places = start + np.flatnonzero(taken.finite)
            finite[start : start + _CHUNK] = taken.finite
            if self._skips_repeats:
                found, out = self._repeats.take(pick(chunk, taken.finite))
                repeated[places[found]], skipped[places[out]] = True, True
                z, norms, places = pick(z, ~out), norms[~out], places[~out]
            witness[places], series = self._witness(z, norms)
            s = 0
            while s < places.size:  # none where all rows were left out
                part = slice(s, s + min(BLOCK, self._dependence.room))
                at = places[part]
                plain[at], corrected[at] = self._take(z[part], norms[part], witness[at], series[part])
                s = part.stop
        return Scores.of(
            corrected, self._thresholds, ~finite, self.windows, plain, repeated, witness, skipped
        )

    def _take(
        self, z: Any, norms: NDArray[np.float64], witness: NDArray[np.float64], series: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(b, k) statistics of at most ``BLOCK`` rows, without correction and with it."""
        stats, kernel = self._window.push(z, norms, witness, self._fitted.reference_kernel_mean)
        return stats, self._dependence.push(z, norms, witness, series, kernel, stats)

    def evidence(self, window: int | None = None) -> Evidence:
        """Say why the current window (the longest, if None) differs from the reference.

        At most ten dimensions; empty before the first observation.

        Raises
        ------
        ConfigError
            If ``window`` is none of ``windows``.
        """
        w = self.windows[-1] if window is None else window
        if w not in self.windows:
            raise ConfigError(f"window: {window!r}; give one of {', '.join(map(str, self.windows))}")
        z, values = self._window.last(w)
        if not values.size:
            return Evidence.none()
        shift = on_host(z).mean(axis=0, dtype=np.float64) / self._scaling.factor
        spread = np.where(self._std > 0, self._std, self._std[self._std > 0].min())
        return Evidence.of(shift / spread, values, self.feature_names)

    def save(self, path: str | os.PathLike[str], *, mode: int = 0o644) -> None:
        """Write all of it to one ``.npz``, a file of that mode: atomically, without pickle."""
        narrow = self._reference.astype(np.float32)
        exact = np.array_equal(narrow.astype(np.float64), self._reference)
        arrays = {"reference": narrow if exact else self._reference, "thresholds": self._thresholds}
        settings = dataclasses.asdict(self._fitted)
        running = self._window.state() | self._dependence.state() | {"repeats": self._repeats.state()}
        storage.write(path, _ENGINE, settings, arrays | running, mode=mode)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> OnlineMMD:
        """Read what :meth:`save` wrote; the stream goes on where it was saved.

        A file from before dependence was learned holds none: it is then learned anew.

        Raises
        ------
        DetectorFileError
            If the file is corrupt, truncated, no detector, or from a newer version.
        ConfigError
            If the device is not there.
        """
        device = resolve_device(device, None)
        settings, arrays = storage.read(path, _ENGINE)
        try:
            fitted, thresholds = Fitted.of(settings), arrays["thresholds"]
            if thresholds.shape != (len(fitted.windows),) or not np.isfinite(thresholds).all():
                raise ValueError(f"thresholds {thresholds} for windows {fitted.windows}")
            detector = cls(arrays["reference"].astype(np.float64), thresholds, fitted, device)
            detector._window.restore(arrays)
            if "dependence" in arrays:
                detector._dependence.restore(arrays)
                detector._repeats.restore(arrays["repeats"])
        except Exception as error:  # the arrays of a stranger fail wherever they are used first
            raise DetectorFileError(f"{path}: holds no usable detector ({error!r}); fit it again") from error
        return detector

    def reset(self) -> None:
        """Empty the window and forget the stream's dependence; keep reference and thresholds."""
        self._window = SlidingWindow(self.windows, self._z)
        self._dependence = DependenceEstimator(self._null, self.n_features, SERIES)
        self._repeats = Repeats()

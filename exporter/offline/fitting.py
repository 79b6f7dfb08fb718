"""From a file of reference embeddings to a saved detector, and what to say about it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.detectors import OnlineMMD
from exporter.detectors.alibi.reader import read_online_mmd
from exporter.detectors.mmd.dependence import Dependence
from exporter.detectors.mmd.kernel import squared_distances
from exporter.detectors.validation import check_reference, check_windows
from exporter.errors import ConfigError, DetectorFileError
from exporter.references.files import Table, load_reference

DEFAULT_WINDOW = 50
DEFAULT_RUN_LENGTH = 10_000.0
_SPREAD_ROWS = 1000


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What to calibrate, in the words of :meth:`OnlineMMD.fit` and :func:`load_reference`.

    None is the default, or what a directory saved by alibi-detect says. ``false_alarm_interval``, in seconds,
    at ``max_per_second`` tests says the same as ``expected_run_length``.
    """

    windows: tuple[int, ...] | None = None
    expected_run_length: float | None = None
    false_alarm_interval: float | None = None
    max_per_second: float | None = None
    confidence: float = 0.5
    bandwidth: float | None = None
    seed: int | None = None
    device: str = "auto"
    key: str | None = None

    def run_length(self) -> float | None:
        """The expected run length; a ConfigError if it is asked for in two ways, or in half of one."""
        if self.false_alarm_interval is None:
            return self.expected_run_length
        if self.expected_run_length is not None:
            raise ConfigError("give --expected-run-length or --false-alarm-interval, not both")
        if self.max_per_second is None:
            raise ConfigError(
                "--false-alarm-interval needs --max-per-second, "
                "since only then is it known how many tests a second are made"
            )
        if not (math.isfinite(self.max_per_second) and self.max_per_second > 0):
            raise ConfigError(f"--max-per-second: {self.max_per_second}; give a number above 0")
        return self.false_alarm_interval * self.max_per_second


@dataclass(frozen=True, slots=True)
class Fitted:
    """A saved detector and what there is to know about it."""

    detector: OnlineMMD
    rows: int  # of the reference
    null_std: NDArray[np.float64]  # (k,) of each window's statistic without drift
    seconds: float  # that the calibration took
    notes: tuple[str, ...] = ()  # what alibi-detect could not pass on, or what is odd about the columns


def fit_file(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    request: FitRequest,
    progress: Callable[[float], None] | None = None,
) -> Fitted:
    """Read reference embeddings, calibrate a detector, save it.

    ``source`` is a file that :func:`load_reference` reads, or a directory in which alibi-detect saved
    an ``MMDDriftOnline``; nothing pickled in it is read.

    Raises
    ------
    InvalidReference, DetectorFileError, ConfigError
        If the reference, the directory or the request breaks a rule, or ``out`` cannot be written.
    """
    target = Path(out)
    if target.suffix != ".npz":
        raise ConfigError(f"--out: {target}; give a file name that ends in .npz")
    if not target.resolve().parent.is_dir():
        raise ConfigError(f"--out: {target}; the folder does not exist, create it")
    run_length, windows, bandwidth = request.run_length(), request.windows, request.bandwidth
    if Path(source).is_dir():
        saved = read_online_mmd(source)
        windows = windows or (saved.window,)
        run_length = saved.expected_run_length if run_length is None else run_length
        bandwidth = saved.bandwidth if bandwidth is None else bandwidth
        table = Table(check_reference(saved.reference, check_windows(windows)), notes=saved.notes)
    else:
        windows = windows or (DEFAULT_WINDOW,)
        table = load_reference(source, window=windows, key=request.key)
    start = time.perf_counter()
    detector = OnlineMMD.fit(
        table.rows,
        window=windows,
        expected_run_length=DEFAULT_RUN_LENGTH if run_length is None else run_length,
        confidence=request.confidence,
        bandwidth=bandwidth,
        device=request.device,
        seed=request.seed,
        feature_names=table.columns,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    try:
        detector.save(target)
    except OSError as error:
        message = f"--out: {target} cannot be written ({error.strerror}); give another path"
        raise ConfigError(message) from error
    spread = null_std(table.rows, detector.windows, detector.bandwidth)
    return Fitted(detector, len(table.rows), spread, seconds, table.notes)


def load_fitted(path: str | os.PathLike[str], *, device: str = "auto") -> OnlineMMD:
    """A saved detector with an empty window; a DetectorFileError if the file is none."""
    if Path(path).suffix.lower() != ".npz":
        raise DetectorFileError(
            f"reference: {path} is no detector file (.npz); make one of a file of embeddings, with "
            "`inference-exporter fit EMBEDDINGS --out detector.npz`, or give a checkpoint"
        )
    try:
        detector = OnlineMMD.load(path, device=device)
    except OSError as error:
        raise DetectorFileError(
            f"reference: {path} cannot be read ({error.strerror}); make it with `inference-exporter fit`"
        ) from error
    detector.reset()
    return detector


def seen_dependence(path: str | os.PathLike[str]) -> Dependence | None:
    """How dependent the stream was that a saved detector has run on; None if it has seen none.

    A checkpoint holds that, a detector fresh from ``fit`` does not.
    """
    dependence = OnlineMMD.load(path, device="cpu").dependence
    return dependence if dependence.rows else None


def null_std(
    reference: NDArray[np.float64], windows: tuple[int, ...], bandwidth: float
) -> NDArray[np.float64]:
    """(k,) float64 standard deviation of the unbiased squared MMD of each window without drift.

    ``sqrt(2 E[h^2] (1/(n(n-1)) + 1/(w(w-1)) + 2/(nw)))`` with h the kernel centred on the reference,
    (n, d), of which at most 1,000 rows are compared. [Gretton et al., JMLR 2012, appendix B.]
    """
    n = reference.shape[0]
    x = reference[:: -(-n // _SPREAD_ROWS)]
    kernel = np.exp(-squared_distances(x, x) / (2.0 * bandwidth**2))
    mean = kernel.mean(axis=0)
    centred = kernel - mean[:, None] - mean[None, :] + mean.mean()
    np.fill_diagonal(centred, 0.0)
    m = x.shape[0]
    second_moment = float((centred**2).sum() / (m * (m - 1.0)))
    w = np.asarray(windows, dtype=np.float64)
    sizes = 1.0 / (n * (n - 1.0)) + 1.0 / (w * (w - 1.0)) + 2.0 / (n * w)
    return np.asarray(np.sqrt(2.0 * second_moment * sizes))

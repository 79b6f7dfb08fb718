"""Detectors that alibi-detect saved, in our pipeline.

A saved ``MMDDriftOnline`` becomes our own engine: nothing of alibi-detect is installed or run. Any
other detector runs inside alibi-detect itself (extra ``[alibi]``), and since such directories hold
pickles that can run code, only behind ``trust_pickles`` with the SHA-256 of the directory pinned.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.detectors.alibi.pinned import pinned_copy
from exporter.detectors.alibi.reader import CONFIG_FILE, read_array, read_online_mmd, read_settings
from exporter.detectors.base import Detector, Evidence, Scores
from exporter.detectors.mmd.kernel import median_bandwidth, squared_distances
from exporter.detectors.mmd.online import OnlineMMD
from exporter.detectors.validation import as_rows
from exporter.errors import ConfigError, DetectorFileError

_log = logging.getLogger(__name__)

_ONLINE = ("MMDDriftOnline", "LSDDDriftOnline", "CVMDriftOnline", "FETDriftOnline")
_NEEDS_MORE = {"ContextMMDDrift": "needs a context beside each observation"}
_SMALLEST_P = 1e-300  # a permutation test can give 0


def load_alibi_detector(
    directory: str | os.PathLike[str],
    *,
    window: int = 50,
    trust_pickles: bool = False,
    sha256: str | None = None,
    device: str = "auto",
    seed: int | None = None,
) -> Detector:
    """A detector from a directory that alibi-detect's ``save_detector`` wrote.

    Parameters
    ----------
    window
        Observations in each test of an offline detector; online ones bring their own.
    trust_pickles
        False reads an ``MMDDriftOnline`` into :class:`OnlineMMD` and executes nothing. True loads
        any detector with alibi-detect, which unpickles what the directory holds.
    sha256
        What :func:`exporter.detectors.alibi.pinned.directory_digest` gives for the directory; obligatory with
        ``trust_pickles``.
    device, seed
        For :meth:`OnlineMMD.fit`; alibi-detect calibrates anew on loading, with its own device and
        random state.

    Raises
    ------
    DetectorFileError
        If the directory is corrupt, its digest is not the pinned one, or the detector is one that
        cannot be taken this way. Nothing of it has been executed then.
    ConfigError
        If ``trust_pickles`` comes without ``sha256``, or alibi-detect is not installed.
    InvalidReference
        If the saved reference cannot serve ours, for instance with fewer than 4 * window rows.
    """
    if trust_pickles:
        if sha256 is None:
            raise ConfigError(
                f"trust_pickles: true for {directory}, but sha256 is missing; pin the directory with the "
                f"line that `inference-exporter digest {directory}` prints"
            )
        return AlibiDetector.load(directory, sha256=sha256, window=window)
    saved = read_online_mmd(directory)
    for note in saved.notes:
        _log.warning("%s: %s", directory, note)
    return OnlineMMD.fit(
        saved.reference,
        window=saved.window,
        expected_run_length=saved.expected_run_length,
        bandwidth=saved.bandwidth,
        device=device,
        seed=seed,
    )


class AlibiDetector:
    """One of alibi-detect's detectors behind the :class:`Detector` protocol. Made by :meth:`load`.

    Online detectors give their statistic and threshold at every observation; where they test each
    feature by itself (CVM, FET), the largest ratio of a statistic to its threshold, and 1. Offline
    detectors test each full window once, without overlap, and NaN stands in between: ``test_stat``
    is then ``-log10 p`` (of the smallest p-value) and the threshold ``-log10`` of what it is compared
    with, so their mean run length without drift is ``window / p_val``. Memory is constant: the
    history that alibi-detect would keep is cut. Not safe for concurrent use: one writer.
    """

    def __init__(self, detector: Any, settings: dict[str, Any], reference: NDArray[Any], window: int) -> None:
        self._detector = detector
        self._inner = getattr(detector, "_detector", detector)
        self._preprocess = getattr(self._inner, "preprocess_fn", None)
        self._reference = reference
        shape = settings.get("input_shape")
        own = None if self._preprocess is not None else reference.shape[1:]
        self._shape: tuple[int, ...] | None = tuple(shape) if isinstance(shape, list) else own
        self._online = settings["name"] in _ONLINE
        if self._online:
            sizes = [int(size) for size in settings.get("window_sizes") or [settings["window_size"]]]
            self.windows = tuple(sorted(sizes))
            self._order = np.argsort(sizes, kind="stable")
            self.expected_run_length = float(settings["ert"])
            self._threshold = 1.0 if "window_sizes" in settings else float(self._inner.thresholds[-1])
        else:
            alpha = float(settings.get("p_val") or 0.05)
            self.windows = (window,)
            self.expected_run_length = window / alpha
            self._threshold = -math.log10(alpha)
        self._recent: list[NDArray[Any]] = []
        self._untested = 0

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, sha256: str, window: int = 50) -> AlibiDetector:
        """Check the digest, then let alibi-detect load the very bytes that were checked."""
        if window < 2:
            raise ConfigError(f"window: {window}; give a whole number from 2")
        with pinned_copy(directory, sha256) as copy:
            settings = read_settings(copy)
            _check_loadable(Path(directory), copy, settings)
            reference = read_array(copy, settings.get("x_ref"))
            try:
                from alibi_detect.saving import load_detector
            except ImportError as error:
                raise ConfigError(
                    f"detector: alibi needs alibi-detect ({error}); pip install 'inference-exporter[alibi]'"
                ) from error
            try:
                detector = load_detector(copy)
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                raise DetectorFileError(
                    f"{directory}: alibi-detect cannot load it ({type(error).__name__}: {reason}); "
                    "load it in the environment that saved it, and save it again"
                ) from error
        return cls(detector, settings, reference, window)

    @property
    def n_features(self) -> int:
        """Length of the embeddings it takes; 0 until the first batch where saved code preprocesses them."""
        return 0 if self._shape is None else math.prod(self._shape)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """(k,) float64, the threshold of each window; an online one varies over its first windows."""
        return np.full(len(self.windows), self._threshold)

    def update(self, batch: Any) -> Scores:
        """Take (b, d) or (d,) embeddings, in order; give a verdict on each."""
        batch = on_host(batch)
        if self._shape is None and batch.ndim:
            self._shape = batch.shape[-1:]
        rows = as_rows(batch, self.n_features)
        b, k = rows.shape[0], len(self.windows)
        refused = ~np.isfinite(rows).all(axis=1)
        stats = np.full((b, k), np.nan)
        is_drift = np.zeros(b, dtype=np.bool_)
        for i in np.flatnonzero(~refused):
            row = rows[i].astype(self._reference.dtype).reshape(self._shape or ())
            self._recent.append(row)
            del self._recent[: -self.windows[-1]]
            self._untested += 1
            if self._online:
                stats[i], is_drift[i] = self._test_online(row)
            elif self._untested == self.windows[-1]:
                stats[i], is_drift[i] = self._test_window()
        largest = np.fmax.reduce(stats, axis=1)
        return Scores(largest, self._threshold, is_drift, refused, self.windows, stats, self.thresholds)

    def evidence(self, window: int | None = None) -> Evidence:
        """Say why the current window (the longest, if None) differs from the reference.

        Both are compared as the detector sees them: after its preprocessing.
        """
        rows = self._recent[-(self.windows[-1] if window is None else window) :]
        if not rows:
            return Evidence.none()
        stacked = np.stack(rows)
        seen = stacked if self._preprocess is None else np.asarray(self._preprocess(stacked))
        y = seen.reshape(seen.shape[0], -1).astype(np.float64)
        x = self._reference.reshape(self._reference.shape[0], -1).astype(np.float64)
        mean, spread = x.mean(axis=0), x.std(axis=0)
        spread = np.where(spread > 0, spread, spread.max() or 1.0)
        sigma = median_bandwidth(x - mean, np.random.default_rng(0))
        witness = np.exp(-squared_distances(y, x) / (2.0 * sigma**2)).mean(axis=1)
        return Evidence.of((y.mean(axis=0) - mean) / spread, witness)

    def reset(self) -> None:
        """Empty the window; keep reference and thresholds."""
        self._recent.clear()
        self._untested = 0
        if self._online:
            self._detector.reset_state()

    def _test_online(self, row: NDArray[Any]) -> tuple[NDArray[np.float64], bool]:
        data = self._detector.predict(row)["data"]
        # It appends every statistic, verdict and row to arrays for good, and looks back this far at most.
        for history, length in (("test_stats", 1), ("drift_preds", 1), ("xs", self.windows[-1])):
            if hasattr(self._inner, history):
                setattr(self._inner, history, getattr(self._inner, history)[-length:])
        stat = np.asarray(data["test_stat"], dtype=np.float64)
        threshold = np.asarray(data["threshold"], dtype=np.float64)
        if stat.ndim == 0:
            self._threshold = float(threshold)
            return stat.reshape(1), bool(data["is_drift"])
        ratio = np.where(threshold > 0, stat / np.where(threshold > 0, threshold, 1.0), np.nan)
        return np.fmax.reduce(ratio, axis=1)[self._order], bool(data["is_drift"])

    def _test_window(self) -> tuple[NDArray[np.float64], bool]:
        self._untested = 0
        data = self._detector.predict(np.stack(self._recent))["data"]
        smallest = max(float(np.min(data["p_val"])), _SMALLEST_P)
        level = float(np.min(data["threshold"]))
        if 0.0 < level < 1.0:
            self._threshold = -math.log10(level)
        return np.array([-math.log10(smallest)]), bool(data["is_drift"])


def _check_loadable(directory: Path, copy: Path, settings: dict[str, Any]) -> None:
    """Refuse what alibi-detect would fetch from outside the pinned directory, and what needs more input."""
    name = settings["name"]
    if name in _NEEDS_MORE:
        raise DetectorFileError(f"{directory}: {name} {_NEEDS_MORE[name]}, which the stream does not carry")
    for key, value in _strings(settings, ""):
        leaf = key.rpartition(".")[2]
        outside = Path(value).is_absolute() or ".." in Path(value).parts
        missing = leaf == "src" and not value.startswith("@") and not (copy / value).exists()
        if outside or missing:
            raise DetectorFileError(
                f"{directory / CONFIG_FILE}: {key} is {value!r}, which lies outside the pinned files; "
                "save the detector again with save_detector, which puts everything into one directory"
            )


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _strings(child, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for child in value:
            yield from _strings(child, key)

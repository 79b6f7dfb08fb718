"""What an entry of ``drift`` learned, and its running detector, kept in a folder over restarts.

Each process keeps a file of its own, by the lowest number that no other one holds: of several workers
each has its own detector. A worker that finds none of its own begins with what another one learned,
and an empty window.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.config import DetectorConfig, LearnConfig
from exporter.detectors import storage
from exporter.detectors.base import Detector
from exporter.detectors.registry import DETECTORS
from exporter.drift.detectors import check_kept
from exporter.errors import ConfigError
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.references.reference import Origin, Reference

log = logging.getLogger(__name__)

KIND = "drift-state"
_SLOTS = 256
_LearnerState = tuple[dict[str, Any], dict[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file of the folder holds.

    ``reference`` stands in place of a detector that was made for other windows, or another run length,
    than are asked for now; ``learner`` is what :meth:`ReferenceLearner.state` gave, while it learns.
    """

    origin: Origin
    detector: Detector | None = None
    reference: Reference | None = None
    learner: _LearnerState | None = None


class StateFile:
    """The file of one entry of ``drift``, for one model, in this process; failing is logged and counted.

    Parameters
    ----------
    folder
        Made if it is missing. Its files can be read by their owner only, since they hold embeddings.
    written, failed
        Called with the time of each write, and for each that failed and each file that was not taken up.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelId,
        config: DetectorConfig,
        *,
        written: Callable[[float], None],
        failed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._model = model
        self._config = config
        self._written = written
        self.failed = failed
        self._clock = clock
        self._last = clock()
        self._path: Path | None = None
        self._lock: int | None = None

    @classmethod
    def of(
        cls,
        folder: Path | None,
        model: ModelId,
        config: DetectorConfig,
        instruments: Instruments,
        clock: Callable[[], float],
    ) -> StateFile | None:
        """The file for an entry of ``drift``, or None where no state is kept."""
        # What a detector inside of alibi-detect has become cannot be saved.
        if folder is None or getattr(config, "trust_pickles", False):
            return None
        labels = (*model, config.label)
        return cls(
            folder,
            model,
            config,
            written=instruments["drift_checkpoint_timestamp_seconds"].labels(*labels).set,
            failed=instruments["drift_checkpoint_failures_total"].labels(*labels).inc,
            clock=clock,
        )

    @property
    def is_open(self) -> bool:
        """Whether this process has a file."""
        return self._path is not None

    def open(self) -> Kept | None:
        """Choose this process's file, and read it; None if there is nothing that can be taken up."""
        self._last = self._clock()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._choose()
        except OSError as error:
            self.failed()
            log.error("state %s cannot be used, so nothing is kept: %s", self._folder, error)
            return None
        own = self._path
        if own is None:
            self.failed()
            log.error("state %s: %d processes keep theirs already; this one keeps none", self._folder, _SLOTS)
            return None
        others = () if own.exists() else self._files()
        for path in (own, *others):
            try:
                kept = self._read(path)
            except FileNotFoundError:
                continue
            except Exception as error:  # whatever is wrong with it, the service starts
                self.failed()
                log.warning("state %s is not taken up, what is normal is learned anew: %s", path, error)
                continue
            if path == own:
                return kept
            if kept.detector is not None and kept.learner is None:
                kept.detector.reset()
                log.info("detector %s begins with what another worker learned (%s)", self._config.label, path)
                return kept
        return None

    def save_if_due(self, make: Callable[[], Kept]) -> None:
        """Save what ``make`` gives, if the interval has passed since the last write."""
        if not 0 <= self._clock() - self._last < self._config.checkpoint_interval:
            self.save(make())

    def make_due(self) -> None:
        """Save at the next opportunity: something has changed that took long to come by."""
        self._last = -math.inf

    def save(self, kept: Kept) -> None:
        """Save now."""
        if self._path is None:
            return
        self._last = self._clock()
        try:
            self._write(self._path, kept)
            self._written(self._last)
        except Exception:
            log.exception("state %s could not be written", self._path)
            self.failed()

    def close(self) -> None:
        """Leave the file to the next process; in a child process, to the parent."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._path = None

    @property
    def _entry(self) -> dict[str, Any]:
        """What has to be the same for a file to be taken up."""
        reference: Any = self._config.reference
        named = reference.model_dump() if isinstance(reference, LearnConfig) else str(reference)
        entry = {"detector": self._config.detector, "reference": named}
        return dict(json.loads(json.dumps(entry)))

    def _choose(self) -> None:
        """Take the lowest number that no process holds."""
        name = file_name(self._model, self._config.label)
        for number in range(_SLOTS):
            path = self._folder / f"{name}.{number}.npz"
            held = lock(path)
            if held is not None:
                self._path, self._lock = path, held
                for left_over in self._folder.glob(f".*{path.name}.*.tmp"):
                    left_over.unlink(missing_ok=True)
                return

    def _files(self) -> list[Path]:
        """Those of other workers, the newest first."""
        name = file_name(self._model, self._config.label)
        return sorted(self._folder.glob(f"{name}.*.npz"), key=lambda path: -path.stat().st_mtime)

    def _read(self, path: Path) -> Kept:
        settings, arrays = storage.read(path, KIND)
        if settings["entry"] != self._entry:
            raise ConfigError(f"it belongs to {settings['entry']}, not {self._entry}")
        origin = Origin(**settings["origin"])
        detector, learner = None, None
        if "detector" in arrays:
            with self._beside(path) as scratch:
                scratch.write_bytes(arrays["detector"].tobytes())
                detector = DETECTORS[self._config.detector].load(scratch, device=self._config.device)
        if settings["learner"] is not None:
            learner = settings["learner"], {name: arrays[name] for name in ("learned_rows", "first_rows")}
        if detector is None:
            return Kept(origin, learner=learner)
        try:
            check_kept(self._config, detector)
        except ConfigError as error:
            if not isinstance(self._config.reference, LearnConfig):
                raise
            log.info("%s: %s; it is calibrated again with the reference that was learned", path, error)
            rows: Any = getattr(detector, "reference", None)
            names = tuple(getattr(detector, "feature_names", ()))
            return Kept(origin, reference=Reference(rows, origin, names), learner=learner)
        return Kept(origin, detector, learner=learner)

    def _write(self, path: Path, kept: Kept) -> None:
        arrays: dict[str, Any] = {}
        learner = None
        if kept.learner is not None:
            learner, learned = kept.learner
            arrays |= learned
        if kept.detector is not None:
            detector: Any = kept.detector
            with self._beside(path) as scratch:
                detector.save(scratch, mode=0o600)
                arrays["detector"] = np.frombuffer(scratch.read_bytes(), dtype=np.uint8)
        settings = {
            "model": self._model.name,
            "version": self._model.version,
            "label": self._config.label,
            "entry": self._entry,
            "saved": self._clock(),
            "origin": asdict(kept.origin),
            "learner": learner,
        }
        storage.write(path, KIND, settings, arrays, mode=0o600)

    @contextlib.contextmanager
    def _beside(self, path: Path) -> Iterator[Path]:
        """A file for the moment; whoever opens the state next removes one that is left over."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        scratch.touch(mode=0o600)
        try:
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)


def restored(origin: Origin) -> Origin:
    """As it is shown after a restart."""
    return replace(origin, source="restored") if origin.source == "learned" else origin


def file_name(model: ModelId, label: str) -> str:
    """The first part of a file's name: what a reader recognises, and a digest that tells all apart."""
    text = "\0".join((*model, label))
    shown = "-".join(re.sub(r"[^A-Za-z0-9_-]+", "_", part)[:40] for part in (*model, label) if part)
    return f"{shown}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def lock(path: Path) -> int | None:
    """The descriptor of a lock on the file at ``path``, to be closed; None if another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows, where processes do not fork either
        return os.open(os.devnull, os.O_RDONLY)
    held = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held

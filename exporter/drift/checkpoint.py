"""Saving a running detector from time to time, so that a restart goes on where it was."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.config import DetectorConfig
from exporter.detectors.storage import remove_half_written
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId

log = logging.getLogger(__name__)


class Checkpoint:
    """Writes a detector to a file at most once an interval; failing to is logged and counted.

    ``written`` is called with the time of each successful write, ``failed`` after each other one.

    One process at a time writes the file: the first that does, until it closes the checkpoint or ends.
    Others of the same path would undo its work with every write of theirs; theirs fail. The file is
    replaced atomically, and can be read by its owner only, since it holds embeddings.
    """

    def __init__(
        self,
        path: Path,
        interval_seconds: float,
        *,
        written: Callable[[float], None],
        failed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._interval_seconds = interval_seconds
        self._written = written
        self._clock = clock
        self._last = clock()
        self._lock: int | None = None
        self._refused = False
        self.failed = failed

    @classmethod
    def of(
        cls, model: ModelId, config: DetectorConfig, instruments: Instruments, clock: Callable[[], float]
    ) -> Checkpoint | None:
        """The checkpoint that an entry of ``drift`` asks for, or None."""
        if config.checkpoint is None:
            return None
        return cls(
            config.checkpoint,
            config.checkpoint_interval,
            written=instruments["drift_checkpoint_timestamp_seconds"].labels(*model, config.label).set,
            failed=instruments["drift_checkpoint_failures_total"].labels(*model, config.label).inc,
            clock=clock,
        )

    def save_if_due(self, detector: Any) -> None:
        """Save, if the interval has passed since the last write, or the clock was set back."""
        if not 0 <= self._clock() - self._last < self._interval_seconds:
            self.save(detector)

    def save(self, detector: Any) -> None:
        """Save now."""
        self._last = self._clock()
        try:
            if self._is_ours():
                detector.save(self._path, mode=0o600)
                self._written(self._clock())
                return
        except Exception:
            log.exception("checkpoint %s could not be written", self._path)
        self.failed()

    def close(self) -> None:
        """Leave the file to whoever writes it next; in a child process, to the parent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_ours(self) -> bool:
        """Whether this checkpoint may write the file; from the first time on it keeps the right to."""
        if self._lock is not None:
            return True
        try:
            import fcntl
        except ImportError:  # Windows, where processes do not fork either
            return True
        # The file itself is replaced by each write, and a lock on it with it.
        lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            if not self._refused:
                self._refused = True
                log.error(
                    "checkpoint %s is written by another process or detector, so this one keeps none: "
                    "give each a path of its own, or let the processes share one detector (collector)",
                    self._path,
                )
            return False
        self._lock = lock
        remove_half_written(self._path)
        return True

"""Saving a running detector from time to time, so that a restart goes on where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.config import DriftConfig
from exporter.metrics.instruments import Instruments

log = logging.getLogger(__name__)


class Checkpoint:
    """Writes a detector to a file at most once an interval; failing to is logged and counted.

    Parameters
    ----------
    path
        The file; it is replaced atomically.
    interval_seconds
        Least time between two writes.
    written
        Called with the time (seconds since the epoch) of each successful write.
    failed
        Called after each failed one.
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
        self.failed = failed

    @classmethod
    def of(
        cls, model: str, config: DriftConfig, instruments: Instruments, clock: Callable[[], float]
    ) -> Checkpoint | None:
        """The checkpoint that an entry of ``drift`` asks for, or None."""
        if config.checkpoint is None:
            return None
        return cls(
            config.checkpoint,
            config.checkpoint_interval,
            written=instruments["drift_checkpoint_timestamp_seconds"].labels(model, config.label).set,
            failed=instruments["drift_checkpoint_failures_total"].labels(model, config.label).inc,
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
            detector.save(self._path)
        except Exception:
            log.exception("checkpoint %s could not be written", self._path)
            self.failed()
        else:
            self._written(self._clock())

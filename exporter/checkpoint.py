"""Saving a running detector from time to time, so that a restart goes on where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        self._failed = failed
        self._clock = clock
        self._due = clock() + interval_seconds

    def save_if_due(self, detector: Any) -> None:
        """Save, if the interval has passed since the last write."""
        if self._clock() >= self._due:
            self.save(detector)

    def save(self, detector: Any) -> None:
        """Save now."""
        self._due = self._clock() + self._interval_seconds
        try:
            detector.save(self._path)
        except Exception:
            log.exception("checkpoint %s could not be written", self._path)
            self._failed()
        else:
            self._written(self._clock())

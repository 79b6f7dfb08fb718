"""The sign of life of a process that has work in hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.processes.framing import Link
from exporter.processes.messages import Beat
from exporter.processes.supervisor import RULES

_BEAT_SECONDS = RULES.hung_seconds / 6


class Heartbeat:
    """Sends a :class:`Beat` every few seconds while something takes long.

    A batch for a large model, or reading one at the start, may take minutes, and is told from a process
    that was stopped by this alone. With nothing in hand nothing is sent: nobody may be reading.
    """

    def __init__(self, link: Link, seconds: float = _BEAT_SECONDS) -> None:
        self._link = link
        self._seconds = seconds
        self._working = False
        threading.Thread(target=self._run, name="inference-exporter-heartbeat", daemon=True).start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """While the body runs, this process is at work."""
        self._working = True
        try:
            yield
        finally:
            self._working = False

    def _run(self) -> None:
        never = threading.Event()
        while not never.wait(self._seconds):
            if self._working:
                try:
                    self._link.send(Beat())
                except OSError:  # the other end is gone
                    return

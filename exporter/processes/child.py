"""What a process that was started beside another one does: settle in, serve, and show that it lives."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from exporter.errors import InferenceExporterError
from exporter.processes.framing import Beat, Link
from exporter.processes.supervisor import BEGINNING, RULES

# The service and whatever else shares its cores go first.
_NICENESS = 5
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
        with suppress(OSError):  # the other end is gone
            while not never.wait(self._seconds):
                if self._working:
                    self._link.send(Beat())


def serve(link: Link, program: Callable[[Link, Any, Heartbeat], Callable[[], None]]) -> None:
    """Make a program out of the first message that comes, and run it until the other end is gone.

    If the configuration cannot serve, the error is sent instead.
    """
    first = link.receive()
    if first is None:
        return
    heartbeat = Heartbeat(link)
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody is left to tell
        try:
            with heartbeat.working():
                run = program(link, first, heartbeat)
        except InferenceExporterError as error:
            link.send(error)
        else:
            run()


def settle_in(descriptor: int) -> Link:
    """In the new process: leave the signals to the first one, stand back behind it, and take the socket.

    A terminal's interrupt and a supervisor's termination go to the whole group, and it is the first
    process that decides when nothing comes any more: then the socket ends.
    """
    os.environ.pop(BEGINNING, None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    if hasattr(os, "sched_setscheduler"):
        # Not to take a core from others by waking up.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return Link(socket.socket(fileno=descriptor))

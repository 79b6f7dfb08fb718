"""One process of ours after another: when it is started again, when it counts as hung, and how it is ended.

Whoever has the process says what it gave of itself and asks what to do, be it a worker thread that may wait
or an event loop that may not.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from exporter.processes.spawn import spawn

_LEAST_WELL_SECONDS = 10.0
_WELL_PAUSES = 10.0
_KILLED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed to a process. Times are in seconds.

    Parameters
    ----------
    first_pause_seconds, longest_pause_seconds
        Between an end and the next start: the pause doubles with each end, up to the longest. After a
        process that was well it is the first again.
    well_seconds
        A process has been well once it was ready for ten times the pause before it, so that less than a
        tenth of the time is lost to pauses; for 10 seconds at least, and this long is always enough.
    start_seconds, hung_seconds
        A process that owes a sign of life, and gives none for so long, hangs: before it is ready, when it
        may be loading from a slow disk, and afterwards.
    failed_starts
        So many processes in a row that ended before they were ready make further ones hopeless.
    """

    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 30.0
    well_seconds: float = 60.0
    start_seconds: float = 120.0
    hung_seconds: float = 30.0
    failed_starts: int = 3


RULES = Rules()


class Supervisor:
    """Has one process at a time, and keeps the rules; ``clock`` gives seconds and does not go back."""

    def __init__(self, rules: Rules = RULES, clock: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules
        self.pause_seconds = 0.0
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._failed_starts = 0
        self._ready_at: float | None = None
        self._alive_at = clock()

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def spawn(self, module: str, environment: Mapping[str, str]) -> socket.socket:
        """Run ``main(descriptor)`` of a module in a new process; gives our end of the socket.

        Raises
        ------
        OSError
            If no process can be started.
        """
        self._process, connection = spawn(module, environment)
        self.started()
        return connection

    def reap(self, patience_seconds: float = 0.5) -> int | None:
        """Wait for a process that ends, kill it if it does not, and give its exit status.

        None if there is no process, or if even a killed one is not gone after some seconds, as while it
        waits for a disk.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            return process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_KILLED_SECONDS)
        return None

    def disown(self) -> None:
        """In a forked process: the process is the parent's, and not ours to wait for."""
        if self._process is not None:
            self._process.returncode = 0
            self._process = None

    def started(self) -> None:
        """A process begins."""
        self._ready_at = None
        self.alive()

    def ready(self) -> None:
        """It can work; said again, this changes nothing."""
        if self._ready_at is None:
            self._ready_at = self._clock()
            self._failed_starts = 0
        self.alive()

    def alive(self) -> None:
        """It gave a sign of life, or owes none yet."""
        self._alive_at = self._clock()

    def ended(self) -> None:
        """It is gone, or none could be started."""
        rules, well = self.rules, False
        if self._ready_at is None:
            self._failed_starts += 1
        else:
            enough = min(rules.well_seconds, max(_LEAST_WELL_SECONDS, _WELL_PAUSES * self.pause_seconds))
            well = self._clock() - self._ready_at >= enough
        self._ready_at = None
        grown = 0.0 if well else 2 * self.pause_seconds
        self.pause_seconds = min(rules.longest_pause_seconds, max(rules.first_pause_seconds, grown))

    @property
    def is_ready(self) -> bool:
        """Whether the process of now can work."""
        return self._ready_at is not None

    @property
    def hung(self) -> bool:
        """Whether a sign of life is overdue; asked only of a process that owes one."""
        allowed = self.rules.hung_seconds if self.is_ready else self.rules.start_seconds
        return self._clock() - self._alive_at > allowed

    @property
    def hopeless(self) -> bool:
        """Whether another start is not worth trying."""
        return self._failed_starts >= self.rules.failed_starts

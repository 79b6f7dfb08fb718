"""One process of ours after another: how it is started and ended, when again, and when it counts as hung.

Whoever has the process says what it gave of itself and asks what to do, be it a worker thread that may wait
or an event loop that may not.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]).main(int(sys.argv[3]))"
)
# One thread for matrix products: more of them would take the cores from the service, and spin while
# they wait.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
BEGINNING = "INFERENCE_EXPORTER_BEGINNING"
"""Stands in the environment until our program begins. Where it still stands, something else was run as if
it were an interpreter, which would start the same again, and so on."""
_INTERPRETERS = ("python", "pypy", "graalpy")
_KILLED_SECONDS = 5.0
# A process was well once it had been ready for ten times the pause before it, so that less than a tenth of
# the time is lost to pauses; these are the bounds.
_WELL_PAUSES, _LEAST_WELL_SECONDS, _MOST_WELL_SECONDS = 10.0, 10.0, 60.0
# So many in a row that ended before they were ready make further ones hopeless.
_FAILED_STARTS = 3


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed to a process."""

    # Between an end and the next start: doubles with each end, until a process was well.
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 30.0
    # One that owes a sign of life and gives none for so long hangs: before it is ready, when it may be
    # loading from a slow disk, and afterwards.
    start_seconds: float = 120.0
    hung_seconds: float = 30.0


RULES = Rules()


def can_spawn() -> bool:
    """Whether ``sys.executable`` can run a program of ours.

    It cannot where the interpreter is part of something else: a frozen application, or a server that
    embeds it. Those would run themselves.
    """
    name = Path(sys.executable or "").name.lower()
    frozen = getattr(sys, "frozen", False) or BEGINNING in os.environ
    return os.name == "posix" and not frozen and name.startswith(_INTERPRETERS)


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
        """Run ``main(descriptor)`` of a module in a new process, with one end of a socket; gives the other.

        An OSError, or whatever else keeps one from starting, is the caller's.
        """
        if not can_spawn():
            raise OSError(f"{sys.executable or 'nothing'} is not an interpreter of its own")
        # The import system passes over what is no text, such as a pathlib.Path.
        search = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-c", _PROGRAM, search, module, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    env={**_ENVIRONMENT, **environment, BEGINNING: "1"},
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
        self.started()
        return ours

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
        well = False
        if self._ready_at is None:
            self._failed_starts += 1
        else:
            enough = max(_LEAST_WELL_SECONDS, _WELL_PAUSES * self.pause_seconds)
            well = self._clock() - self._ready_at >= min(enough, _MOST_WELL_SECONDS)
        self._ready_at = None
        grown = 0.0 if well else 2 * self.pause_seconds
        rules = self.rules
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
        return self._failed_starts >= _FAILED_STARTS

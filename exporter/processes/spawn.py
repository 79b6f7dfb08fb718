"""Starting a process of our own beside this one, with a socket between the two, and ending it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]).main(int(sys.argv[3]))"
)
# One thread for matrix products: more of them would take the cores from the service, and spin while
# they wait.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Stands in the environment until our program begins. Where it still stands, something else was run as if
# it were an interpreter, which would start the same in its turn, and so on.
_BEGINNING = "INFERENCE_EXPORTER_BEGINNING"
_INTERPRETERS = ("python", "pypy", "graalpy")
# The service and whatever else shares its cores go first.
_NICENESS = 5
_KILLED_SECONDS = 5.0


def can_spawn() -> bool:
    """Whether ``sys.executable`` can run a program of ours.

    It cannot where the interpreter is part of something else: a frozen application, or a server that
    embeds it. Those would run themselves.
    """
    name = Path(sys.executable or "").name.lower()
    frozen = getattr(sys, "frozen", False) or _BEGINNING in os.environ
    return os.name == "posix" and not frozen and name.startswith(_INTERPRETERS)


def spawn(module: str, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run ``main(descriptor)`` of a module in a new process; gives it and our end of the socket.

    Raises
    ------
    OSError
        If no process can be started.
    """
    if not can_spawn():
        raise OSError(f"{sys.executable or 'nothing'} is not an interpreter of its own")
    # The import system passes over what is no text, such as a pathlib.Path.
    search = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _PROGRAM, search, module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env={**_ENVIRONMENT, **environment, _BEGINNING: "1"},
            pass_fds=[theirs.fileno()],
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def settle_in(descriptor: int) -> socket.socket:
    """In the new process: leave the signals to the first one, stand back behind it, and take the socket.

    A terminal's interrupt and a supervisor's termination go to the whole group, and it is the first
    process that decides when nothing comes any more: then the socket ends.
    """
    os.environ.pop(_BEGINNING, None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    if hasattr(os, "sched_setscheduler"):
        # Not to take a core from others by waking up.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return socket.socket(fileno=descriptor)


def reap(process: subprocess.Popen[bytes], patience_seconds: float = 0.5) -> int | None:
    """Wait for a process that ends, kill it if it does not, and give its exit status.

    None if even a killed one is not gone after some seconds, as while it waits for a disk.
    """
    try:
        return process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_KILLED_SECONDS)
    return None

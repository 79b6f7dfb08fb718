"""Starting a process of our own beside this one, with a socket between the two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]).main(int(sys.argv[3]))"
)
# One thread for matrix products: more of them would take the cores from the service, and spin while
# they wait.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# The service and whatever else shares its cores go first.
_NICENESS = 5


def can_spawn() -> bool:
    """Whether processes can be started on this system."""
    return os.name == "posix" and bool(sys.executable)


def spawn(module: str, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run ``main(descriptor)`` of a module in a new process; gives it and our end of the socket.

    Raises
    ------
    OSError
        If no process can be started.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env={**_ENVIRONMENT, **environment},
            pass_fds=[theirs.fileno()],
        )
    except OSError:
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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    if hasattr(os, "sched_setscheduler"):
        # Not to take a core from others by waking up.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return socket.socket(fileno=descriptor)

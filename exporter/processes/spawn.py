"""Starting a process of our own beside this one, with a socket between the two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
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
it were an interpreter, which would start the same in its turn, and so on."""
_INTERPRETERS = ("python", "pypy", "graalpy")


def can_spawn() -> bool:
    """Whether ``sys.executable`` can run a program of ours.

    It cannot where the interpreter is part of something else: a frozen application, or a server that
    embeds it. Those would run themselves.
    """
    name = Path(sys.executable or "").name.lower()
    frozen = getattr(sys, "frozen", False) or BEGINNING in os.environ
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
            env={**_ENVIRONMENT, **environment, BEGINNING: "1"},
            pass_fds=[theirs.fileno()],
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours

"""Real servers on loopback for tests: started as processes, waited for, and stopped by their own id."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and body of a GET on loopback."""
    return request(port, "GET", path, headers=headers)


def request(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """Status and body of a request on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_for(condition: Callable[[], Result], seconds: float = 60.0, what: str = "the condition") -> Result:
    """Wait until ``condition()`` gives something true, and return it; OSError counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if result := condition():
                return result
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds} s")


@contextlib.contextmanager
def process(
    command: Sequence[str], *, log: Path | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own; at the end it is asked to stop, and then made to."""
    sink = log.open("wb") if log is not None else None
    out = sink or subprocess.DEVNULL
    child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options)
    try:
        yield child
    finally:
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(10)
        if sink is not None:
            sink.close()


def cli(*arguments: str) -> list[str]:
    """The command line of this package, in this interpreter."""
    return [sys.executable, "-c", "from exporter.cli.main import main; main()", *arguments]

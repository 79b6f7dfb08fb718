"""The service of the demonstration as a child process, on a loopback port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

START_SECONDS = 90.0
STOP_SECONDS = 10.0


class ServiceFailed(RuntimeError):
    """The service ended, or did not answer in time; the message has the end of its log."""


@asynccontextmanager
async def running_service(artefacts: Path, log: Path, port: int = 0) -> AsyncIterator[str]:
    """Start the digits service, wait until it answers, yield its URL, and stop it.

    The socket is opened here and handed down, so that no other process can take the port in between.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", port)) as listener, log.open("wb") as output:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "examples.digits.service", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            [*command, "--artefacts", str(artefacts)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us; we stop the service in order
        )
    try:
        await _wait_until_up(url, process, log)
        yield url
    finally:
        await asyncio.shield(asyncio.to_thread(_stop, process))


async def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=2.0) as client:
        while asyncio.get_running_loop().time() < deadline:
            if process.poll() is not None:
                raise ServiceFailed(f"the service ended with status {process.returncode}:\n{_tail(log)}")
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/metrics")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)
    raise ServiceFailed(f"the service did not answer within {START_SECONDS:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

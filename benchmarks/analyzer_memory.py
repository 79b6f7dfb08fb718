"""What strangers can make the sidecar's analyzer hold, through the data port.

``.venv/bin/python -m benchmarks.analyzer_memory`` starts a sidecar for each case, in front of an upstream
that takes everything and never responds, and prints the resident memory of its analyzer before and
after, and why connections are unobserved. ``--tree FOLDER`` takes the package from another checkout, to
set two of them side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.servers import free_port, process, wait_for

LAUNCH = """
try:
    from exporter.cli.main import main
except ImportError:
    from exporter.cli import main
main()
"""
MEGABYTE = 1 << 20
PIECE = 128 * 1024
MANY_FIELDS = b"a:b\r\n" * 4500

Case = Iterator[tuple[int, bytes]]
"""Numbers of connections, and what each of them sends next."""


def pipelined(path: bytes) -> Case:
    """33 MiB of pipelined requests with 4,500 short fields each, on 50 connections."""
    head = b"GET %s HTTP/1.1\r\n%s\r\n" % (path, MANY_FIELDS)
    for i in range(33 * MEGABYTE // len(head)):
        yield i % 50, head


def short_chunks() -> Case:
    """15 MiB of bodies in chunks of two bytes, a MiB on each connection."""
    for connection in range(15):
        yield connection, b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"2\r\nab\r\n" * 8192
    for i in range(15 * MEGABYTE // 2 // 8192 - 15):
        yield i % 15, chunks


def incomplete() -> Case:
    """Heads without an end, nearly 64 KiB on each of 3,000 connections."""
    for connection in range(3000):
        yield connection, b"GET /predict HTTP/1.1\r\nX: " + b"y" * 65_000


CASES: dict[str, tuple[int, Callable[[], Case]]] = {
    "pipelined heads of 4,500 fields, not captured": (50, lambda: pipelined(b"/other")),
    "the same, captured": (50, lambda: pipelined(b"/predict")),
    "15 MiB of bodies in 2-byte chunks": (15, short_chunks),
    "64 KiB of a head on 3,000 connections": (3000, incomplete),
}


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """The port of a server that reads and never responds."""

    class Swallow(asyncio.Protocol):
        def eof_received(self) -> bool:
            return False

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Swallow, "127.0.0.1", 0, backlog=1024))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def sidecar(tree: Path, upstream: int, folder: Path) -> Iterator[tuple[int, int, int]]:
    """A sidecar of that tree: its two ports, and the process id of its analyzer."""
    (folder / "exporter.yaml").write_text("model: m\ncapture: {paths: [/predict]}\n")
    listen, admin = free_port(), free_port()
    command = [
        *(sys.executable, "-c", LAUNCH, "sidecar", "--upstream", f"http://127.0.0.1:{upstream}"),
        *("--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}"),
        *("--config", str(folder / "exporter.yaml")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with process(command, log=folder / "log", env=environment, cwd=tree) as child:
        ready = f"http://127.0.0.1:{admin}/-/ready"
        wait_for(lambda: urllib.request.urlopen(ready, timeout=5).status == 200, what="readiness")
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        yield listen, admin, int(children[0])


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def wait_until_idle(pid: int) -> None:
    """Wait until a process has been seen sleeping for longer than its next segment takes to come."""
    asleep, deadline = 0, time.monotonic() + 60
    while asleep < 5 and time.monotonic() < deadline:
        states = [
            task.read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").glob("*/stat")
        ]
        asleep = asleep + 1 if set(states) == {"S"} else 0
        time.sleep(0.01)


def send(case: Case, n_connections: int, port: int, pid: int) -> list[socket.socket]:
    """Send what a case says, no faster than the process ``pid`` reads it."""
    connections = []
    for _ in range(n_connections):
        connection = socket.create_connection(("127.0.0.1", port), 20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append(connection)
    sent = 0
    for number, data in case:
        connections[number].sendall(data)
        sent += len(data)
        if sent >= PIECE:
            wait_until_idle(pid)
            sent = 0
    return connections


def unobserved(admin: int) -> str:
    """What a scrape says of connections that are not followed."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=30).read().decode()
    found = re.findall(r'proxy_unobserved_total\{(?:kind|reason)="(\w+)"\} ([1-9][\d.]*)', text)
    return ", ".join(f"{float(n):.0f} {reason}" for reason, n in found) or "none"


def measure(name: str, tree: Path) -> str:
    """One row of the table."""
    n_connections, case = CASES[name]
    with (
        tempfile.TemporaryDirectory() as folder,
        swallowing() as upstream,
        sidecar(tree, upstream, Path(folder)) as (listen, admin, pid),
    ):
        before = resident(pid)
        connections = send(case(), n_connections, listen, pid)
        wait_until_idle(pid)
        row = f"| {name} | {before:.0f} | {resident(pid):.0f} | {unobserved(admin)} |"
        for connection in connections:
            connection.close()
        return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="only this one")
    options = parser.parse_args()
    print("| what was sent | before, MiB | after, MiB | unobserved |")
    print("|---|---:|---:|---|")
    for i, name in enumerate(CASES):
        if options.case in (None, i):
            print(measure(name, options.tree.resolve()), flush=True)


if __name__ == "__main__":
    main()

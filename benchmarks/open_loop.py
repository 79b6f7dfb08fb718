"""An open-loop HTTP client: requests leave when they are due, whether or not earlier ones were answered.

A latency counts from the moment at which its request was due, so an answer that holds up later requests
is charged for their waiting too ("coordinated omission" is what a closed loop hides). Arrivals are evenly
spaced; a few connections share them in turn, each with one request under way at most.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from numpy import percentile


@dataclass
class _Connection:
    sock: socket.socket
    due: deque[float] = field(default_factory=deque)
    asked: float | None = None
    answer: bytes = b""


def run(port: int, request: bytes, *, rate: float, seconds: float, connections: int) -> dict[str, float]:
    """Send ``rate`` requests a second to 127.0.0.1:``port``; latencies in milliseconds.

    The answers must carry a Content-Length. The first tenth of the time is not measured.
    """
    pool = [_Connection(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
    for connection in pool:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    by_socket = {connection.sock: connection for connection in pool}
    latencies: list[float] = []
    start = time.perf_counter()
    measured_from, end = start + seconds / 10, start + seconds
    total = int(rate * seconds)
    sent = errors = 0
    while True:
        now = time.perf_counter()
        while sent < total and start + sent / rate <= now:
            connection = pool[sent % connections]
            connection.due.append(start + sent / rate)
            sent += 1
            if connection.asked is None:
                _ask(connection, request)
        busy = [connection.sock for connection in pool if connection.asked is not None]
        if (sent >= total and not busy) or now > end + 5:
            break
        wait = max(0.0, start + sent / rate - time.perf_counter()) if sent < total else 1.0
        for sock in select.select(busy, [], [], wait)[0]:
            connection = by_socket[sock]
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the connection was closed")
            connection.answer += data
            if not _complete(connection.answer):
                continue
            errors += not connection.answer.startswith(b"HTTP/1.1 200")
            if connection.asked is not None and connection.asked >= measured_from:
                latencies.append(1e3 * (time.perf_counter() - connection.asked))
            connection.answer, connection.asked = b"", None
            if connection.due:
                _ask(connection, request)
    unanswered = total - sent + sum(len(c.due) + (c.asked is not None) for c in pool)
    for connection in pool:
        connection.sock.close()
    p50, p90, p99, p999 = percentile(latencies, [50, 90, 99, 99.9])
    return {"p50": p50, "p90": p90, "p99": p99, "p999": p999, "errors": errors, "unanswered": unanswered}


def _ask(connection: _Connection, request: bytes) -> None:
    connection.asked = connection.due.popleft()
    connection.sock.sendall(request)


def _complete(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    return len(answer) >= end + 4 + length


def post(path: str, body: bytes) -> bytes:
    """The bytes of a POST of ``body``."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--body-bytes", type=int, default=1024)
    given = parser.parse_args()
    outcome = run(
        given.port,
        post(given.path, b"x" * given.body_bytes),
        rate=given.rate,
        seconds=given.seconds,
        connections=given.connections,
    )
    print(json.dumps(outcome))

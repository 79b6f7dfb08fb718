"""Large bodies, many connections and slow ones: bytes right, memory bounded, others undisturbed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from benchmarks.open_loop import post
from tests.e2e.proxied import ROOT, SidecarProcess, in_thread, nginx, sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GIB = 1 << 30
MIB = 1 << 20
MOST_GROWTH = 32 * MIB
BLOCK = bytes(range(256)) * 4096  # 1 MiB


class Echoer:
    """A service that hashes what it is sent, and answers with a body of the same length and its hash."""

    def __init__(self, chunked: bool) -> None:
        self.chunked = chunked
        self.server = socket.create_server(("127.0.0.1", 0))
        self.received = ""

    @property
    def port(self) -> int:
        return int(self.server.getsockname()[1])

    def serve(self) -> None:
        # The exporter probes its upstream by connecting; only a connection that asks is served.
        while True:
            connection, _ = self.server.accept()
            with connection:
                head = connection.recv(65536)
                if head:
                    self._answer(connection, head)
                    return

    def _answer(self, connection: socket.socket, head: bytes) -> None:
        digest = hashlib.sha256()
        start = head.index(b"\r\n\r\n") + 4
        digest.update(head[start:])
        left = GIB - (len(head) - start)
        buffer = bytearray(MIB)
        while left:
            n = connection.recv_into(buffer, min(MIB, left))
            assert n
            digest.update(memoryview(buffer)[:n])
            left -= n
        self.received = digest.hexdigest()
        if self.chunked:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(1024):
                connection.sendall(b"100000\r\n" + BLOCK + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB)
            for _ in range(1024):
                connection.sendall(BLOCK)


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_gibibyte_each_way_with_a_slow_reader(tmp_path: Path, chunked: bool) -> None:
    expected = hashlib.sha256()
    for _ in range(1024):
        expected.update(BLOCK)
    service = Echoer(chunked)
    with service.server, sidecar(service.port, tmp_path) as front, in_thread(service.serve):
        front.metric("inference_exporter_upstream_up")
        front.forget_peak()
        before = front.memory()
        with socket.create_connection(("127.0.0.1", front.port), 60) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIB)
            for _ in range(1024):
                client.sendall(BLOCK)
            digest = hashlib.sha256()
            length = _read_body(client, digest.update, chunked)
        growth = front.memory("VmHWM") - before
        wait_until(lambda: front.metric("http_request_duration_highr_seconds_count") == 1)
        assert front.metric("inference_exporter_proxy_unobserved_total") == 0
    print(f"memory grew by {growth / MIB:.1f} MiB")
    assert length == GIB
    assert digest.hexdigest() == service.received == expected.hexdigest()
    assert growth < MOST_GROWTH


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _read_body(client: socket.socket, take: Callable[[bytes], None], chunked: bool) -> int:
    """Read an answer slowly at first; hand over its body and return the body's length."""
    with client.makefile("rb", buffering=4 * MIB) as stream:
        return _read_slowly(stream, take, chunked)


def _read_slowly(stream: BinaryIO, take: Callable[[bytes], None], chunked: bool) -> int:
    while stream.readline() != b"\r\n":
        pass
    total = 0
    while total < GIB:
        size = int(stream.readline(), 16) if chunked else MIB
        data = stream.read(size)
        assert len(data) == size
        take(data)
        total += size
        if chunked:
            stream.readline()
        if total < GIB // 8:
            time.sleep(0.02)
    return total


def test_five_thousand_idle_connections(tmp_path: Path) -> None:
    with nginx(tmp_path) as origin, sidecar(origin, tmp_path) as front, contextlib.ExitStack() as stack:
        before = front.memory()
        idle = _open(stack, front, 5000)
        _wait_until_open(front, 5000)
        figures = _paced(front, rate=200)
        assert (figures["errors"], figures["unanswered"]) == (0, 0)
        assert front.memory() - before < 5000 * 32 * 1024
        for sock in idle[::50]:  # they are alive
            sock.sendall(post("/predict", b"{}"))
        for sock in idle[::50]:
            assert sock.recv(12) == b"HTTP/1.1 200"
        stack.close()
        _wait_until_open(front, 0)


SLOW = """
import socket, sys, time
socks = []
for _ in range(int(sys.argv[2])):
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sock.sendall(b"POST /predict HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100000\\r\\n\\r\\n")
    socks.append(sock)
print("open", flush=True)
while True:
    for sock in socks:
        sock.send(b"x")
        time.sleep(0.001)
"""


def test_a_thousand_slow_connections_leave_the_others_alone(tmp_path: Path) -> None:
    with nginx(tmp_path) as origin, sidecar(origin, tmp_path) as front:
        ratios: list[float] = []
        while len(ratios) < 5:
            alone = _paced(front, rate=500)
            command = [sys.executable, "-c", SLOW, str(front.port), "1000"]
            slow = subprocess.Popen(command, stdout=subprocess.PIPE)
            try:
                assert slow.stdout is not None
                assert slow.stdout.readline() == b"open\n"
                beside = _paced(front, rate=500)
                assert front.metric("inference_exporter_proxy_connections") >= 1000
            finally:
                slow.kill()
                slow.communicate()
            assert beside["errors"] == beside["unanswered"] == 0
            ratios.append(beside["p99"] / alone["p99"])
            _wait_until_open(front, 0)
            if sum(ratio <= 2.0 for ratio in ratios) == 3:
                return  # the median of five, whatever the others will be
    raise AssertionError(f"p99 beside slow connections, relative to alone: {ratios}")


def _open(stack: contextlib.ExitStack, front: SidecarProcess, n: int) -> list[socket.socket]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, n + 1024)), hard))
    address = ("127.0.0.1", front.port)
    return [stack.enter_context(socket.create_connection(address, 20)) for _ in range(n)]


def _paced(front: SidecarProcess, rate: int) -> dict[str, float]:
    """Latencies of an open-loop load, made by another process."""
    command = [sys.executable, "-m", "benchmarks.open_loop", str(front.port), "/predict", f"--rate={rate}"]
    options = ["--seconds=4", "--connections=8", "--body-bytes=64"]
    done = subprocess.run([*command, *options], capture_output=True, check=True, text=True, cwd=ROOT)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _wait_until_open(front: SidecarProcess, n: int) -> None:
    for _ in range(300):
        if front.metric("inference_exporter_proxy_connections") == n:
            return
        time.sleep(0.1)
    raise AssertionError(f"not {n} connections")

"""Scripted peers on raw sockets, and a proxy in a thread of its own: what both saw can be compared.

A script is a tuple of steps, run in order on a blocking socket::

    S(b"...")  send           R(n)  receive n bytes        E()  receive until the end
    F()        end our side   X()   reset                  C()  close
    P(name)    wait for the other script to reach the same P
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.capture_log import CaptureLog, Entry, LoggedConnection, Standing
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.proxy import Proxy
from exporter.receivers.proxy.tap import Tap
from exporter.sidecar.messages import packed, unpacked

TIMEOUT = 4.0


@dataclass
class Seen:
    """What one side received, and how it ended: "eof", "reset" or "open"."""

    data: bytes = b""
    end: str = "open"


@dataclass(frozen=True)
class S:
    data: bytes


@dataclass(frozen=True)
class R:
    n: int


@dataclass(frozen=True)
class P:
    name: str


class E: ...


class F: ...


class X: ...


class C: ...


class Meeting:
    """Where two scripts wait for each other, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._barriers: dict[str, threading.Barrier] = {}

    def wait(self, name: str) -> None:
        with self._lock:
            barrier = self._barriers.setdefault(name, threading.Barrier(2))
        barrier.wait(TIMEOUT)


Script = tuple[Any, ...] | Callable[[socket.socket, Seen], None]


def play(sock: socket.socket, script: Script, seen: Seen, meeting: Meeting) -> None:
    """Run a script; a reset where bytes were expected ends it, and is what was seen."""
    sock.settimeout(TIMEOUT)
    try:
        if callable(script):
            script(sock, seen)
            return
        for step in script:
            _play_one(sock, step, seen, meeting)
    except (ConnectionResetError, BrokenPipeError):
        seen.end = "reset"


def _play_one(sock: socket.socket, step: Any, seen: Seen, meeting: Meeting) -> None:
    if isinstance(step, S):
        sock.sendall(step.data)
    elif isinstance(step, R):
        receive(sock, step.n, seen)
    elif isinstance(step, P):
        meeting.wait(step.name)
    elif isinstance(step, E):
        while True:
            data = sock.recv(65536)
            if not data:
                seen.end = "eof"
                return
            seen.data += data
    elif isinstance(step, F):
        sock.shutdown(socket.SHUT_WR)
    elif isinstance(step, X):
        reset(sock)
    elif isinstance(step, C):
        sock.close()
    else:
        raise TypeError(f"{step!r} is no step")


def receive(sock: socket.socket, n: int, seen: Seen | None = None) -> bytes:
    """Receive exactly ``n`` bytes, or fewer at the end."""
    got = b""
    while len(got) < n:
        data = sock.recv(n - len(got))
        if not data:
            if seen is not None:
                seen.end = "eof"
            break
        got += data
        if seen is not None:
            seen.data += data
    return got


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def listening(path: Path | None = None) -> Iterator[tuple[socket.socket, Address]]:
    """A listening socket on the loopback interface or a Unix path, and its address."""
    if path is None:
        server = socket.create_server(("127.0.0.1", 0), backlog=512)
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(512)
        address = Address(path=str(path))
    server.settimeout(TIMEOUT)
    with server:
        yield server, address


def connect(address: Address) -> socket.socket:
    """Connect a blocking socket."""
    if address.path:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(address.path)
        return sock
    sock = socket.create_connection((address.host, address.port), TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@dataclass
class RunningProxy:
    """A proxy in a thread; ``call`` runs a coroutine on its loop."""

    proxy: Proxy
    loop: asyncio.AbstractEventLoop
    address: Address
    observed: list[Any] = field(default_factory=list)

    def call(self, coroutine: Any, timeout: float = TIMEOUT) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)


@contextlib.contextmanager
def proxying(
    upstream: Address,
    *,
    listen: Address | None = None,
    limits: ProxyLimits | None = None,
    tap: Tap | None = None,
    grace: float = 0.0,
) -> Iterator[RunningProxy]:
    """A proxy on uvloop in a thread of its own, broken off at the end."""
    loop = uvloop.new_event_loop()
    # A probe would be the connection that a scripted upstream waits for.
    limits = limits or ProxyLimits(probe_seconds=0)
    proxy = Proxy(upstream, listen or Address(host="127.0.0.1"), tap=tap, limits=limits)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = RunningProxy(proxy, loop, proxy.listen)
    try:
        running.call(proxy.start())
        running.address = proxy.address
        yield running
    finally:
        running.call(proxy.drain(grace))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT)
        loop.close()


class Observing(CaptureLog):
    """A capture log whose segments are read on the spot, by way of what goes between processes.

    ``behind`` is by how many bytes it claims to be behind with reading.
    """

    def __init__(
        self, observed: list[Any], *, max_kept_bytes: int = 1 << 26, behind: int = 0, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.behind = behind
        self.summaries: list[Any] = []
        self._observed = observed
        self.reader = CaptureLogReader(
            lambda _method, _path: True, self._deliver, max_kept_bytes=max_kept_bytes
        )

    def _deliver(self, wanted: list[Any], summaries: list[Any]) -> None:
        self._observed.extend(wanted)
        self.summaries.extend(summaries)

    def connection_opened(self) -> LoggedConnection:
        if self._writer is None:
            self.start(self)
        return super().connection_opened()

    def write(self, segment: list[Entry], /) -> None:
        asyncio.get_running_loop().call_soon(self.told, self.read(segment))

    def read(self, segment: list[Entry]) -> list[Standing]:
        return self.reader.read(unpacked(packed(segment)))

    def unsent(self) -> int:
        return self.behind


@contextlib.contextmanager
def observing(observed: list[Any], **settings: Any) -> Iterator[Observing]:
    """An observer that wants every exchange."""
    capture_log = Observing(observed, **settings)
    try:
        yield capture_log
    finally:
        capture_log.read(capture_log.segment)


def converse(
    client: Script, upstream: Script, through: Callable[[Address], contextlib.AbstractContextManager[Address]]
) -> tuple[Seen, Seen]:
    """Run both scripts, the client connecting to what ``through`` puts in front of the upstream."""
    at_client, at_upstream = Seen(), Seen()
    meeting = Meeting()
    failures: list[BaseException] = []

    def serve(server: socket.socket) -> None:
        try:
            accepted, _ = server.accept()
            with accepted:
                play(accepted, upstream, at_upstream, meeting)
        except BaseException as error:
            failures.append(error)

    with listening() as (server, address), through(address) as front:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        with connect(front) as sock:
            play(sock, client, at_client, meeting)
            thread.join(TIMEOUT)
    assert not failures, failures
    return at_client, at_upstream


@contextlib.contextmanager
def directly(address: Address) -> Iterator[Address]:
    """Nothing in between."""
    yield address

"""The data plane's default observer: a log of bytes that a worker thread reads as HTTP.

On the data path a chunk costs one append. The worker works in short slices, since while it holds the
interpreter the event loop stands still.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from exporter.capture.exchange import Exchange
from exporter.capture.http1 import KINDS, Http1Follower, Kind, Observer, Passed
from exporter.capture.http1_head import Select
from exporter.capture.plane.tap import Phase

logger = logging.getLogger(__name__)

Deliver = Callable[[list[Exchange], list[Passed]], None]
"""Takes completed exchanges, wanted and not; called in the worker thread, must not wait."""

_ENTRY_BYTES = 128  # what an entry of the log costs besides its bytes

_SHORTEST_PAUSE_SECONDS = 0.001

_CLIENT, _UPSTREAM, _CLOSED = range(3)


class ConnectionLog:
    """What passed on one connection and has not been read yet.

    The event loop only appends and the worker only takes from the front, so neither waits for a lock.
    """

    __slots__ = ("done", "entries", "follower", "logged", "observer", "overrun", "queued", "read")

    def __init__(self, observer: LogObserver) -> None:
        self.observer = observer
        self.entries: deque[tuple[int, bytes | int, float]] = deque()
        self.follower: Http1Follower | None = None
        self.queued = False
        self.done = False
        self.overrun = False
        self.logged = 0
        self.read = 0

    def from_client(self, data: bytes, /) -> None:
        """Note bytes that went up."""
        if not self.done:
            self._append(_CLIENT, data)

    def from_upstream(self, data: bytes, /) -> None:
        """Note bytes that went down."""
        if not self.done:
            self._append(_UPSTREAM, data)

    def closed(self) -> None:
        """Note the end."""
        if not self.done:
            self._append(_CLOSED, b"")

    def phase(self) -> Phase:
        """Where the connection stands, "unknown" until the worker has read all that passed."""
        if self.done:
            return "unfollowed"
        if self.logged != self.read:
            return "unknown"
        return self.follower.phase if self.follower is not None else "idle"

    def _append(self, what: int, data: bytes) -> None:
        observer = self.observer
        cost = len(data) + _ENTRY_BYTES
        entry: bytes | int = data
        unread = self.logged - self.read
        if unread > observer.hurry_bytes and not observer.wake.is_set():
            observer.wake.set()
        if (
            unread + cost > observer.max_connection_bytes
            or observer.logged - observer.read + cost > observer.max_bytes
        ) and what != _CLOSED:
            # The bytes go, their number stays: inside a long body that is all the reader needs.
            entry, cost = len(data), _ENTRY_BYTES
            if unread > observer.max_connection_bytes + observer.max_gap_bytes:
                self.done = self.overrun = True
                observer.ready.append(self)
                return
        self.logged += cost
        observer.logged += cost
        self.entries.append((what, entry, observer.clock()))
        if not self.queued:
            self.queued = True
            observer.ready.append(self)


class LogObserver:
    """A :class:`~exporter.capture.plane.tap.Tap` that turns bytes into exchanges in a thread of its own.

    Parameters
    ----------
    select
        (method, path) to whether an exchange's headers and bodies are wanted.
    deliver
        Gets the completed exchanges in batches, in the worker thread.
    max_body_bytes
        Of one kept body.
    max_kept_bytes
        Of the bodies of all exchanges that are under way.
    max_bytes, max_connection_bytes
        Of the log: of all connections together, and of one. Beyond them bytes are only counted; if
        that makes a connection impossible to follow, it is given up as "overrun".
    interval_seconds
        Longest time between two looks at an empty log; while there is traffic it is looked at every
        millisecond, so that each time little is to be read.
    slice_seconds
        For reading in one go, and for the pause after it if there is more to read.
    clock
        Seconds since the epoch.
    """

    max_gap_bytes = 64 * 1024

    def __init__(
        self,
        select: Select,
        deliver: Deliver,
        *,
        max_body_bytes: int = 1024 * 1024,
        max_kept_bytes: int = 64 * 1024 * 1024,
        max_bytes: int = 16 * 1024 * 1024,
        max_connection_bytes: int = 2 * 1024 * 1024,
        interval_seconds: float = 0.02,
        slice_seconds: float = 0.0003,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_connection_bytes = max_connection_bytes
        self.hurry_bytes = max_connection_bytes // 4
        self.clock = clock
        self.wake = threading.Event()
        self.ready: deque[ConnectionLog] = deque()
        self.logged = 0
        self.read = 0
        self.unfollowed: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.failures = 0
        self._deliver = deliver
        self._shared = Observer(select, max_body_bytes=max_body_bytes, max_kept_bytes=max_kept_bytes)
        self._interval = interval_seconds
        self._slice = slice_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def connection_opened(self) -> ConnectionLog:
        """Begin the log of a connection."""
        return ConnectionLog(self)

    def start(self) -> None:
        """Start the worker thread."""
        self._thread = threading.Thread(target=self._run, name="inference-exporter-observer", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Read what was logged, deliver it and end the thread; give up after ``timeout_seconds``."""
        self._stopping.set()
        self.wake.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            self._thread = None

    def read_for(self, seconds: float) -> None:
        """Read the log for about ``seconds`` or until it is empty, and deliver what was completed."""
        until = time.perf_counter() + seconds
        while self.ready:
            log = self.ready.popleft()
            try:
                self._read(log)
            except Exception:
                self.failures += 1
                logger.exception("reading a connection failed; it goes on unobserved")
                self._give_up(log, "failed")
                self.ready.append(log)  # for what is left in it
            if time.perf_counter() >= until:
                break
        shared = self._shared
        if shared.exchanges or shared.passed:
            exchanges, shared.exchanges = shared.exchanges, []
            passed, shared.passed = shared.passed, []
            try:
                self._deliver(exchanges, passed)
            except Exception:
                self.failures += 1
                logger.exception("%d exchanges could not be delivered", len(exchanges) + len(passed))

    def _run(self) -> None:
        pause = self._interval
        while not self._stopping.is_set():
            if self.ready:
                self.read_for(self._slice)
                pause = _SHORTEST_PAUSE_SECONDS
            else:
                pause = min(2 * pause, self._interval)
            if self.ready:
                time.sleep(self._slice)
            else:
                self.wake.clear()
                self.wake.wait(pause)
        while self.ready:
            self.read_for(self._slice)

    def _read(self, log: ConnectionLog) -> None:
        # Before looking at the length, so that what is appended from now on queues it again.
        log.queued = False
        entries = log.entries
        follower = log.follower
        if follower is None:
            follower = log.follower = Http1Follower(self._shared)
        followed = follower.kind is None
        cost = 0
        try:
            for _ in range(len(entries)):
                what, data, at = entries.popleft()
                cost += _ENTRY_BYTES
                if what == _CLOSED:
                    follower.closed(at)
                elif isinstance(data, int):
                    if what == _CLIENT:
                        follower.client_gap(data)
                    else:
                        follower.upstream_gap(data, at)
                else:
                    cost += len(data)
                    if what == _CLIENT:
                        follower.from_client(data, at)
                    else:
                        follower.from_upstream(data, at)
        finally:
            log.read += cost
            self.read += cost
        if log.overrun:
            self._give_up(log, "overrun")
        elif followed and follower.kind is not None:
            self._give_up(log, follower.kind)

    def _give_up(self, log: ConnectionLog, kind: Kind) -> None:
        log.done = True
        log.overrun = False
        self.unfollowed[kind] += 1
        if log.follower is not None:
            log.follower.give_up(kind)

"""What passed on all connections, noted on the data path and handed on in segments.

On the data path a chunk costs one append. A segment goes out every few milliseconds to whoever reads the
capture_log, in another process: nothing is read here, and nobody waits for the reader.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.http.http1.states import Phase

CLIENT, UPSTREAM, CLOSED, OVERRUN, ASKED = range(5)
"""What an entry says: bytes of the client or of the upstream, the end of a connection, that it cannot be
followed any more, or that its phase is asked for."""

Gap = tuple[int, bytes]
"""How many bytes were not kept, and the last few of them."""

Entry = tuple[int, int, bytes | Gap | int, float]
"""Number of the connection, what happened, the bytes (or the gap where they were; or how many entries were
noted when the phase is asked for), and when, in seconds since the epoch."""

Standing = tuple[int, int, Phase]
"""Number of a connection, how many of its entries were read, and its phase after them."""

ENTRY_BYTES = 128
"""What an entry costs besides its bytes."""


class SegmentWriter(Protocol):
    """Where segments go. Its methods are called on the event loop, and do not wait."""

    def write(self, segment: list[Entry], /) -> None:
        """Take a segment."""

    def unsent(self) -> int:
        """Bytes of segments that the reader has not fetched yet."""


class LoggedConnection:
    """One connection's way onto the capture log."""

    __slots__ = ("_direction", "_done", "_epoch", "_gap", "_kept", "_log", "_noted", "_number", "_told")

    def __init__(self, capture_log: CaptureLog, number: int) -> None:
        self._log = capture_log
        self._number = number
        self._done = False
        self._noted = 0
        self._told: tuple[int, Phase | None] = (0, "idle")
        self._epoch = self._kept = 0
        self._direction = -1
        self._gap = (-1, -1)

    def from_client(self, data: bytes, /) -> None:
        """Note bytes that went up."""
        if self._done:
            return
        capture_log = self._log
        if not capture_log.roomy:
            self._note_in_haste(CLIENT, data)
            return
        self._noted += 1
        capture_log.segment.append((self._number, CLIENT, data, capture_log.clock()))
        capture_log.size += len(data) + ENTRY_BYTES
        if capture_log.size > capture_log.segment_bytes or capture_log.timer is None:
            capture_log.grown()

    def from_upstream(self, data: bytes, /) -> None:
        """Note bytes that went down."""
        if self._done:
            return
        capture_log = self._log
        if not capture_log.roomy:
            self._note_in_haste(UPSTREAM, data)
            return
        self._noted += 1
        capture_log.segment.append((self._number, UPSTREAM, data, capture_log.clock()))
        capture_log.size += len(data) + ENTRY_BYTES
        if capture_log.size > capture_log.segment_bytes or capture_log.timer is None:
            capture_log.grown()

    def closed(self) -> None:
        """Note the end."""
        # The reader keeps in mind even what it cannot follow, until it ends.
        self._log.put((self._number, CLOSED, b"", self._log.clock()))
        self._log.forget(self._number)

    def phase(self) -> Phase:
        """Where the connection stands; "unknown" until the reader has said so of all that passed."""
        if self._done:
            return "unfollowed"
        noted, phase = self._told
        if noted != self._noted:
            self._told = (self._noted, None)
            self._log.put((self._number, ASKED, self._noted, 0.0))
            return "unknown"
        return phase or "unknown"

    def told(self, noted: int, phase: Phase) -> None:
        """The reader says where the connection stood after so many entries."""
        if phase == "unfollowed":
            self._done = True
        elif noted == self._noted:
            self._told = (noted, phase)

    def give_up(self) -> None:
        """Note nothing any more."""
        self._done = True

    def _note_in_haste(self, what: int, data: bytes) -> None:
        """The reader is behind: what one connection may have waiting is bounded, and what all may have.

        Beyond that the bytes go, and their number and the last of them stay: inside a long body it is all
        that the reader needs. Where the direction turns a message begins, whose head it does need.
        """
        capture_log = self._log
        if self._epoch != capture_log.epoch:
            self._epoch, self._kept, self._direction = capture_log.epoch, 0, -1
        turned, self._direction = what != self._direction, what
        waiting = capture_log.waiting()
        if waiting > capture_log.max_bytes + capture_log.max_gap_bytes:
            self._done = True
            self._noted += 1
            capture_log.put((self._number, OVERRUN, b"", capture_log.clock()))
        elif waiting + len(data) <= capture_log.max_bytes and (
            turned or self._kept + len(data) <= capture_log.max_connection_bytes
        ):
            self._kept += len(data) + ENTRY_BYTES
            self._noted += 1
            capture_log.put((self._number, what, data, capture_log.clock()))
        else:
            gap = (len(data), data[-TAIL_BYTES:])
            self._gap = capture_log.put_gap(self._gap, self._number, what, gap)
            self._noted += 1


class CaptureLog:
    """A :class:`~exporter.receivers.proxy.tap.Tap` that hands on segments of what passed.

    Parameters
    ----------
    max_bytes, max_connection_bytes
        Of what the reader has not fetched: of all connections together, and of one. Beyond them bytes
        are only counted; if that goes on, or makes a connection impossible to follow, it is given up.
    interval_seconds
        How long an entry waits for others at most.
    segment_bytes
        A segment that has grown to this size waits no longer.
    clock
        Seconds since the epoch.
    """

    max_gap_bytes = 1024 * 1024

    def __init__(
        self,
        *,
        max_bytes: int = 16 * 1024 * 1024,
        max_connection_bytes: int = 2 * 1024 * 1024,
        interval_seconds: float = 0.02,
        segment_bytes: int = 64 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_connection_bytes = max_connection_bytes
        self.clock = clock
        self.roomy = True
        self.epoch = 0
        self.abandoned = 0
        self._interval = interval_seconds
        self.segment_bytes = segment_bytes
        # What the connections add to by themselves, since a call for each chunk would be dear.
        self.segment: list[Entry] = []
        self.size = 0
        self.timer: asyncio.TimerHandle | None = None
        self._segments = 0
        self._writer: SegmentWriter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count()
        self._connections: dict[int, LoggedConnection] = {}

    def connection_opened(self) -> LoggedConnection:
        """Begin to note a connection."""
        number = next(self._numbers)
        connection = LoggedConnection(self, number)
        if self._writer is None:
            connection.give_up()
            self.abandoned += 1
        self._connections[number] = connection
        return connection

    def start(self, writer: SegmentWriter) -> None:
        """Hand segments to ``writer``, on the event loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self.roomy = True

    def interrupt(self) -> None:
        """The reader is gone, and whoever follows it cannot know where the connections stand."""
        self._writer = None
        for connection in self._connections.values():
            connection.give_up()
        self.abandoned += len(self._connections)
        self.segment, self.size = [], 0

    def told(self, standings: list[Standing]) -> None:
        """The reader says where connections stand."""
        for number, noted, phase in standings:
            connection = self._connections.get(number)
            if connection is not None:
                connection.told(noted, phase)

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        self.segment.append(entry)
        data = entry[2]
        self.size += ENTRY_BYTES + (len(data) if isinstance(data, bytes) else 0)
        self.grown()

    def grown(self) -> None:
        """An entry was added to ``segment``, and its size to ``size``: hand it on, now or in a moment."""
        if self.size > self.segment_bytes:
            self.flush()
        elif self.timer is None and self._loop is not None:
            self.timer = self._loop.call_later(self._interval, self.flush)

    def put_gap(self, last: tuple[int, int], number: int, what: int, gap: Gap) -> tuple[int, int]:
        """Add a gap, to the one at ``last`` if that is the newest entry of all.

        Gives the place of the entry, for the next time.
        """
        segment, place = last
        if segment == self._segments and place == len(self.segment) - 1:
            _, before, earlier, _ = self.segment[place]
            if before == what and isinstance(earlier, tuple):
                tail = (earlier[1] + gap[1])[-TAIL_BYTES:]
                self.segment[place] = (number, what, (earlier[0] + gap[0], tail), self.clock())
                return last
        self.put((number, what, gap, self.clock()))
        return self._segments, len(self.segment) - 1

    def waiting(self) -> int:
        """Bytes that the reader has not fetched."""
        return self.size + (self._writer.unsent() if self._writer is not None else 0)

    def forget(self, number: int) -> None:
        """A connection is gone."""
        self._connections.pop(number, None)

    def flush(self) -> None:
        """Hand on what waits, and see how far behind the reader is."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        segment, self.segment, self.size = self.segment, [], 0
        self._segments += 1
        if self._writer is None:
            return
        unsent = self._writer.unsent()
        self.roomy = unsent <= self.max_connection_bytes
        if unsent == 0:
            self.epoch += 1
        if segment:
            self._writer.write(segment)

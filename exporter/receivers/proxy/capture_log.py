"""What was forwarded on all connections, noted on the data path and handed on in segments.

On the data path a chunk costs one append. A segment goes out every few milliseconds to whoever reads the
log, in another process: nothing is read here, and nobody waits for the reader. While it is behind, bytes
become gaps; where even those are too many, the log overflows: nothing at all is noted until the reader has
caught up, and it then begins anew.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.http.http1.states import UNFOLLOWED, State

CLIENT, UPSTREAM, CLOSED, STATE, RESTART = range(5)
"""What an entry says: bytes of the client or of the upstream, the end of a connection, that its state is
asked for, or that all connections before it cannot be followed any more."""

Gap = tuple[int, bytes]
"""How many bytes were not kept, and the last few of them."""

Entry = tuple[int, int, bytes | Gap | int, float]
"""Number of the connection, what happened, the bytes (or the gap where they were; or how many entries were
noted when the state is asked for; or 1 if it was the client who broke the connection off; or how many
connections could not be followed), and when, in seconds since the epoch."""

Standing = tuple[int, int, State]
"""Number of a connection, how many of its entries were read, and its state after them."""

ENTRY_BYTES = 128
"""What an entry costs besides its bytes."""


class SegmentWriter(Protocol):
    """Where segments go. Its methods are called on the event loop, and do not wait."""

    def write(self, segment: list[Entry], /) -> None:
        """Take a segment."""

    def unsent(self) -> int:
        """Bytes of segments that the reader has not fetched yet."""


def _noting(what: int) -> Callable[[LoggedConnection, bytes], None]:
    """The method that notes bytes of one direction: one for each, since another call would be dear."""

    def note(self: LoggedConnection, data: bytes, /) -> None:
        if self._done:
            return
        capture_log = self._log
        if not capture_log.roomy:
            self._note_in_haste(what, data)
            return
        self._noted += 1
        capture_log.segment.append((self._number, what, data, capture_log.clock()))
        capture_log.size += len(data) + ENTRY_BYTES
        if capture_log.size > capture_log.segment_bytes or capture_log.timer is None:
            capture_log.grown()

    return note


class LoggedConnection:
    """One connection's way onto the capture log."""

    __slots__ = ("_direction", "_done", "_epoch", "_gap", "_kept", "_log", "_noted", "_number", "_told")

    def __init__(self, capture_log: CaptureLog, number: int) -> None:
        self._log = capture_log
        self._number = number
        self._done = False
        self._noted = 0
        self._told: tuple[int, State | None] = (0, "IDLE")
        self._epoch = self._kept = 0
        self._direction = -1
        self._gap = (-1, -1)

    from_client = _noting(CLIENT)
    from_upstream = _noting(UPSTREAM)

    def closed(self, *, client_left: bool = False) -> None:
        """Note the end."""
        # The reader keeps in mind even what it cannot follow, until it ends.
        self._log.put((self._number, CLOSED, int(client_left), self._log.clock()))
        self._log.connections.pop(self._number, None)

    def state(self) -> State:
        """Where the connection stands; "UNKNOWN" until the reader has said so of all that was noted."""
        if self._done:
            return "ERROR"
        noted, state = self._told
        if noted != self._noted:
            self._told = (self._noted, None)
            self._log.put((self._number, STATE, self._noted, 0.0))
            return "UNKNOWN"
        return state or "UNKNOWN"

    def told(self, noted: int, state: State) -> None:
        """The reader says where the connection stood after so many entries."""
        if state in UNFOLLOWED:
            self._done = True
        elif noted == self._noted:
            self._told = (noted, state)

    def give_up(self) -> int:
        """Note nothing any more; gives 1 if something was noted until now, else 0."""
        done, self._done = self._done, True
        return int(not done)

    def _note_in_haste(self, what: int, data: bytes) -> None:
        """The reader is behind: what one connection may have waiting is bounded, and what all may have.

        Beyond that the bytes go, and their number and the last of them stay: inside a long body it is all
        that the reader needs. Where the direction changes a message begins, whose head it does need.
        """
        capture_log = self._log
        if self._epoch != capture_log.epoch:
            self._epoch, self._kept, self._direction = capture_log.epoch, 0, -1
        changed, self._direction = what != self._direction, what
        waiting = capture_log.waiting()
        if waiting + len(data) <= capture_log.max_bytes and (
            changed or self._kept + len(data) <= capture_log.max_connection_bytes
        ):
            self._kept += len(data) + ENTRY_BYTES
            self._noted += 1
            capture_log.put((self._number, what, data, capture_log.clock()))
        else:
            gap = (len(data), data[-TAIL_BYTES:])
            self._gap = capture_log.put_gap(self._gap, self._number, what, gap)
            self._noted += 1


class CaptureLog:
    """A :class:`~exporter.receivers.proxy.tap.Tap` that hands on segments of what was forwarded.

    Of what the reader has not fetched, ``max_bytes`` wait for all connections together, and
    ``max_connection_bytes`` for one. Beyond them bytes are only counted; if even that takes more than
    ``max_gap_bytes``, the log overflows. An entry waits for others for ``interval_seconds`` at most, and no
    longer once the segment has grown to ``segment_bytes``. ``clock`` gives seconds since the epoch.

    ``abandoned`` counts connections forwarded unread, each once, since there was no reader or it was lost.
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
        self._overrun: int | None = None  # connections unread since the log overflowed, if it has
        self._interval = interval_seconds
        self.segment_bytes = segment_bytes
        self.connections: dict[int, LoggedConnection] = {}
        # What the connections add to by themselves, since a call for each chunk would be dear.
        self.segment: list[Entry] = []
        self.size = 0
        self.timer: asyncio.TimerHandle | None = None
        self._segments = 0
        self._writer: SegmentWriter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count()

    def connection_opened(self) -> LoggedConnection:
        """Begin to note a connection."""
        number = next(self._numbers)
        connection = self.connections[number] = LoggedConnection(self, number)
        if self._overrun is not None:
            self._overrun += connection.give_up()
        elif self._writer is None:
            self.abandoned += connection.give_up()
        return connection

    def start(self, writer: SegmentWriter) -> None:
        """Hand segments to ``writer``, on the event loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self.roomy = True

    def interrupt(self) -> None:
        """The reader is gone, and whoever follows it cannot know where the connections stand."""
        self._writer = None
        self.abandoned += self._give_up() + (self._overrun or 0)
        self._overrun = None

    def _give_up(self) -> int:
        """Note nothing more of any connection there is; says how many were still noted."""
        self.segment, self.size = [], 0
        return sum([connection.give_up() for connection in self.connections.values()])

    def told(self, standings: list[Standing]) -> None:
        """The reader says where connections stand."""
        for number, noted, state in standings:
            if (connection := self.connections.get(number)) is not None:
                connection.told(noted, state)

    def put(self, entry: Entry) -> None:
        """Add an entry, unless nobody could read it."""
        if self._writer is None or self._overrun is not None:
            return
        self.segment.append(entry)
        data = entry[2]
        self.size += ENTRY_BYTES + (len(data) if isinstance(data, bytes) else 0)
        self.grown()

    def grown(self) -> None:
        """An entry was added to ``segment``, and its size to ``size``: hand it on, now or in a moment."""
        if self.size > self.segment_bytes:
            self.flush()
        elif self.timer is None:
            self._wait()

    def _wait(self) -> None:
        if self._loop is not None:
            self.timer = self._loop.call_later(self._interval, self._waited)

    def _waited(self) -> None:
        """An entry has waited long enough for others; while the reader is behind, it may as well go on."""
        self.timer = None
        if self._writer is not None and self._writer.unsent() > self.max_connection_bytes:
            self._wait()
        else:
            self.flush()

    def put_gap(self, last: tuple[int, int], number: int, what: int, gap: Gap) -> tuple[int, int]:
        """Add a gap, to the one at ``last`` if that is the newest entry of all; gives the place."""
        segment, place = last
        if segment == self._segments and 0 <= place == len(self.segment) - 1:
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

    def flush(self) -> None:
        """Hand on what waits, and see how far behind the reader is."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self._writer is None:
            self.segment, self.size = [], 0
            return
        unsent = self._writer.unsent()
        self.roomy = unsent <= self.max_connection_bytes
        if unsent == 0:
            self.epoch += 1
            if self._overrun is not None:
                overrun, self._overrun = self._overrun, None
                self.put((-1, RESTART, overrun, self.clock()))
        elif unsent + self.size > self.max_bytes + self.max_gap_bytes and self._overrun is None:
            self._overrun = self._give_up()
        segment, self.segment, self.size = self.segment, [], 0
        self._segments += 1
        if segment:
            self._writer.write(segment)
        if self._overrun is not None:
            self._wait()

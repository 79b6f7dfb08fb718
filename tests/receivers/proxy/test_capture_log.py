"""What passed goes onto the capture log in order, within bounds, and without waiting for whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.receivers.proxy.capture_log import CLIENT, CLOSED, RESTART, UPSTREAM, CaptureLog, Entry
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.sidecar.messages import packed

GET = b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Keeping:
    """A writer that keeps everything; ``behind`` is what it says of the other end."""

    def __init__(self) -> None:
        self.segments: list[list[Entry]] = []
        self.behind = 0

    def write(self, segment: list[Entry], /) -> None:
        self.segments.append(segment)

    def unsent(self) -> int:
        return self.behind

    @property
    def entries(self) -> list[Entry]:
        return [entry for segment in self.segments for entry in segment]


def logging_to_memory(**settings: Any) -> tuple[CaptureLog, Keeping]:
    capture_log = CaptureLog(**{"clock": lambda: 1.0} | settings)
    writer = Keeping()
    capture_log.start(writer)
    return capture_log, writer


def kept(writer: Keeping) -> int:
    return sum(len(data) for _, _, data, _ in writer.entries if isinstance(data, bytes))


async def test_entries_go_out_together_after_a_moment():
    capture_log, writer = logging_to_memory(interval_seconds=0.01)
    one, other = capture_log.connection_opened(), capture_log.connection_opened()
    one.from_client(GET)
    other.from_client(GET)
    one.from_upstream(OK)
    one.closed()
    assert writer.segments == []
    await asyncio.sleep(0.1)
    expected = [(0, CLIENT, GET, 1.0), (1, CLIENT, GET, 1.0), (0, UPSTREAM, OK, 1.0), (0, CLOSED, 0, 1.0)]
    assert writer.segments == [expected]
    await asyncio.sleep(0.05)
    assert len(writer.segments) == 1


async def test_a_long_segment_does_not_wait():
    capture_log, writer = logging_to_memory(interval_seconds=60.0, segment_bytes=1000)
    connection = capture_log.connection_opened()
    for _ in range(10):
        connection.from_client(b"x" * 300)
    assert len(writer.segments) == 3


async def test_behind_a_slow_reader_one_connection_is_bounded_and_its_bytes_are_counted():
    capture_log, writer = logging_to_memory(max_connection_bytes=10_000)
    writer.behind = 20_000
    capture_log.flush()
    greedy, modest = capture_log.connection_opened(), capture_log.connection_opened()
    for _ in range(100):
        greedy.from_client(b"x" * 1_000)
    modest.from_client(GET)
    capture_log.flush()
    assert kept(writer) <= 10_000 + len(GET)
    gaps = [
        data if isinstance(data, tuple) else (len(data), b"") for n, _, data, _ in writer.entries if n == 0
    ]
    assert sum(n_bytes for n_bytes, _ in gaps) == 100_000
    assert gaps[-1][1] == b"x" * TAIL_BYTES
    assert (1, CLIENT, GET, 1.0) in writer.entries
    assert len(writer.entries) < 15  # gaps that follow each other are one


async def test_when_the_reader_has_caught_up_everything_is_kept_again():
    capture_log, writer = logging_to_memory(max_connection_bytes=10_000)
    writer.behind = 20_000
    capture_log.flush()
    connection = capture_log.connection_opened()
    connection.from_client(b"")
    connection.from_client(b"x" * 30_000)
    writer.behind = 0
    capture_log.flush()
    connection.from_client(b"y" * 30_000)
    capture_log.flush()
    assert [entry[2] for entry in writer.entries] == [b"", (30_000, b"x" * TAIL_BYTES), b"y" * 30_000]


class Hung(Keeping):
    """A writer whose other end takes nothing, until it takes everything."""

    def unsent(self) -> int:
        return sum(len(packed(segment)) for segment in self.segments)


async def test_with_a_reader_that_hangs_memory_is_bounded_and_connections_are_given_up():
    capture_log = CaptureLog(
        max_bytes=100_000, max_connection_bytes=20_000, segment_bytes=10_000, clock=lambda: 1.0
    )
    capture_log.max_gap_bytes = 50_000
    capture_log.start(writer := Hung())
    connections = [capture_log.connection_opened() for _ in range(20)]
    for _ in range(1_000):
        for connection in connections:
            connection.from_client(b"x" * 1_000)
            connection.from_upstream(b"y" * 1_000)
    assert {connection.state() for connection in connections} == {"ERROR"}
    # What nobody reads adds nothing any more, whatever it is.
    before = capture_log.waiting()
    assert before <= 170_000
    for connection in connections:
        connection.closed()
    for _ in range(5_000):
        passing = capture_log.connection_opened()
        passing.from_client(GET)
        passing.state()
        passing.closed()
    capture_log.flush()
    assert capture_log.waiting() <= before + 10_000
    writer.segments.clear()
    capture_log.flush()
    assert [entry[1:3] for entry in writer.entries] == [(RESTART, 5_020)]
    assert capture_log.abandoned == 0


async def test_who_dies_of_an_overflow_leaves_its_connections_abandoned():
    capture_log = CaptureLog(max_bytes=10_000, max_connection_bytes=1_000, segment_bytes=1_000)
    capture_log.max_gap_bytes = 1_000
    capture_log.start(Hung())
    for _ in range(1_000):
        capture_log.connection_opened().from_client(GET)
    capture_log.interrupt()
    assert capture_log.abandoned == 1_000


async def test_closed_connections_alone_are_bounded_too():
    capture_log = CaptureLog(max_bytes=20_000, segment_bytes=5_000, clock=lambda: 1.0)
    capture_log.max_gap_bytes = 10_000
    capture_log.start(Hung())
    for _ in range(10_000):
        connection = capture_log.connection_opened()
        connection.state()
        connection.closed()
    assert capture_log.waiting() <= 40_000


async def test_after_an_overflow_the_log_begins_anew_once_the_reader_has_caught_up():
    capture_log = CaptureLog(max_bytes=20_000, segment_bytes=1_000, interval_seconds=0.01, clock=lambda: 1.0)
    capture_log.max_gap_bytes = 1_000
    capture_log.start(writer := Hung())
    old = capture_log.connection_opened()
    for _ in range(100):
        old.from_client(b"x" * 1_000)
        old.from_upstream(b"y" * 1_000)
    assert old.state() == "ERROR"
    writer.segments.clear()
    deadline = asyncio.get_running_loop().time() + 5
    while not writer.entries and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    fresh = capture_log.connection_opened()
    fresh.from_client(GET)
    old.from_client(GET)
    capture_log.flush()
    assert [entry[:2] for entry in writer.entries] == [(-1, RESTART), (1, CLIENT)]


async def test_while_the_reader_is_behind_segments_wait_until_they_are_long():
    capture_log, writer = logging_to_memory(interval_seconds=0.005, max_connection_bytes=10_000)
    writer.behind = 20_000
    capture_log.flush()
    connection = capture_log.connection_opened()
    connection.from_client(GET)
    await asyncio.sleep(0.05)
    assert writer.segments == []
    writer.behind = 0
    deadline = asyncio.get_running_loop().time() + 5
    while not writer.segments and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    assert writer.entries == [(0, CLIENT, GET, 1.0)]


async def test_where_the_direction_turns_a_head_may_begin_and_is_kept():
    capture_log, writer = logging_to_memory(max_connection_bytes=10_000)
    writer.behind = 20_000
    capture_log.flush()
    connection = capture_log.connection_opened()
    for _ in range(3):
        connection.from_client(b"x" * 30_000)
    connection.from_upstream(OK)
    connection.from_upstream(b"y" * 30_000)
    connection.from_client(GET)
    capture_log.flush()
    entries = [(what, data if isinstance(data, tuple) else len(data)) for _, what, data, _ in writer.entries]
    assert entries == [
        (CLIENT, 30_000),
        (CLIENT, (60_000, b"x" * TAIL_BYTES)),
        (UPSTREAM, len(OK)),
        (UPSTREAM, (30_000, b"y" * TAIL_BYTES)),
        (CLIENT, len(GET)),
    ]


async def test_gaps_of_two_directions_stay_in_order():
    capture_log, writer = logging_to_memory(max_connection_bytes=100, max_bytes=1_000)
    writer.behind = 1_000
    capture_log.flush()
    connection = capture_log.connection_opened()
    for record in (
        connection.from_client,
        connection.from_client,
        connection.from_upstream,
        connection.from_client,
    ):
        record(b"x" * 500)
    capture_log.flush()
    assert [(what, data[0]) for _, what, data, _ in writer.entries] == [
        (CLIENT, 1000),
        (UPSTREAM, 500),
        (CLIENT, 500),
    ]


@pytest.fixture
def read() -> Callable[[CaptureLog, Keeping], None]:
    reader = CaptureLogReader(lambda _method, _path: True, lambda *_: None)

    def read(capture_log: CaptureLog, writer: Keeping) -> None:
        capture_log.flush()
        for segment in writer.segments:
            capture_log.told(reader.read(segment))
        writer.segments.clear()

    return read


async def test_a_state_is_unknown_until_the_reader_has_said_it(read: Callable[[CaptureLog, Keeping], None]):
    capture_log, writer = logging_to_memory()
    connection = capture_log.connection_opened()
    assert connection.state() == "IDLE"
    connection.from_client(GET)
    assert connection.state() == "UNKNOWN"
    assert connection.state() == "UNKNOWN"
    read(capture_log, writer)
    assert connection.state() == "DONE"
    connection.from_upstream(OK)
    assert connection.state() == "UNKNOWN"
    connection.from_client(GET)  # what the reader says now is no longer true
    read(capture_log, writer)
    assert connection.state() == "UNKNOWN"
    read(capture_log, writer)
    assert connection.state() == "DONE"


async def test_of_what_cannot_be_followed_nothing_more_is_noted(read: Callable[[CaptureLog, Keeping], None]):
    capture_log, writer = logging_to_memory()
    connection = capture_log.connection_opened()
    connection.from_client(b"\x16\x03\x01")
    read(capture_log, writer)
    assert connection.state() == "ERROR"
    connection.from_client(b"\x16" * 1000)
    connection.closed()
    capture_log.flush()
    assert [entry[1] for entry in writer.entries] == [CLOSED]


async def test_without_a_reader_connections_are_counted_once_and_nothing_is_kept():
    capture_log = CaptureLog()
    early = capture_log.connection_opened()
    early.from_client(GET)
    assert capture_log.abandoned == 1
    capture_log.start(first := Keeping())
    watched = capture_log.connection_opened()
    watched.from_client(GET)
    for _ in range(3):  # a connection that is lost to the first death is not lost again
        capture_log.interrupt()
    capture_log.flush()
    assert capture_log.abandoned == 2
    assert first.entries == []
    capture_log.start(second := Keeping())
    watched.from_client(GET)
    assert watched.state() == "ERROR"
    fresh = capture_log.connection_opened()
    fresh.from_client(GET)
    capture_log.flush()
    assert [entry[0] for entry in second.entries] == [2]

"""What passed goes onto the capture log in order, within bounds, and without waiting for whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from exporter.http.http1.follower import TAIL_BYTES
from exporter.receivers.proxy.capture_log import CLIENT, CLOSED, OVERRUN, UPSTREAM, CaptureLog, Entry
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader

GET = b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Keeping:
    """A writer that keeps everything; ``behind`` is what it says of the other end."""

    def __init__(self) -> None:
        self.strips: list[list[Entry]] = []
        self.behind = 0

    def write(self, segment: list[Entry], /) -> None:
        self.strips.append(segment)

    def unsent(self) -> int:
        return self.behind

    @property
    def entries(self) -> list[Entry]:
        return [entry for segment in self.strips for entry in segment]


def taping(**settings: Any) -> tuple[CaptureLog, Keeping]:
    capture_log = CaptureLog(**{"clock": lambda: 1.0} | settings)
    writer = Keeping()
    capture_log.start(writer)
    return capture_log, writer


def kept(writer: Keeping) -> int:
    return sum(len(data) for _, _, data, _ in writer.entries if isinstance(data, bytes))


async def test_entries_go_out_together_after_a_moment():
    capture_log, writer = taping(interval_seconds=0.01)
    one, other = capture_log.connection_opened(), capture_log.connection_opened()
    one.from_client(GET)
    other.from_client(GET)
    one.from_upstream(OK)
    one.closed()
    assert writer.strips == []
    await asyncio.sleep(0.1)
    expected = [(0, CLIENT, GET, 1.0), (1, CLIENT, GET, 1.0), (0, UPSTREAM, OK, 1.0), (0, CLOSED, b"", 1.0)]
    assert writer.strips == [expected]
    await asyncio.sleep(0.05)
    assert len(writer.strips) == 1


async def test_a_long_strip_does_not_wait():
    capture_log, writer = taping(interval_seconds=60.0, segment_bytes=1000)
    connection = capture_log.connection_opened()
    for _ in range(10):
        connection.from_client(b"x" * 300)
    assert len(writer.strips) == 3


async def test_behind_a_slow_reader_one_connection_is_bounded_and_its_bytes_are_counted():
    capture_log, writer = taping(max_connection_bytes=10_000)
    writer.behind = 20_000
    capture_log.flush()
    greedy, modest = capture_log.connection_opened(), capture_log.connection_opened()
    for _ in range(100):
        greedy.from_client(b"x" * 1_000)
    modest.from_client(GET)
    capture_log.flush()
    assert kept(writer) <= 10_000 + len(GET)
    passed = [
        data if isinstance(data, tuple) else (len(data), b"") for n, _, data, _ in writer.entries if n == 0
    ]
    assert sum(n_bytes for n_bytes, _ in passed) == 100_000
    assert passed[-1][1] == b"x" * TAIL_BYTES
    assert (1, CLIENT, GET, 1.0) in writer.entries
    assert len(writer.entries) < 15  # gaps that follow each other are one


async def test_when_the_reader_has_caught_up_everything_is_kept_again():
    capture_log, writer = taping(max_connection_bytes=10_000)
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


async def test_with_a_reader_that_hangs_memory_is_bounded_and_connections_are_given_up():
    capture_log, writer = taping(max_bytes=100_000, max_connection_bytes=20_000, segment_bytes=1 << 30)
    writer.behind = 30_000
    capture_log.flush()
    connections = [capture_log.connection_opened() for _ in range(20)]
    for _ in range(2_000):
        for connection in connections:
            connection.from_client(b"x" * 1_000)
            connection.from_upstream(b"y" * 1_000)
    writer.behind = 100_000 + capture_log.max_gap_bytes
    for connection in connections:
        connection.from_client(b"x")
    capture_log.flush()
    assert kept(writer) <= 100_000
    assert [entry[1] for entry in writer.entries].count(OVERRUN) == 20
    assert {connection.phase() for connection in connections} == {"unfollowed"}


async def test_where_the_direction_turns_a_head_may_begin_and_is_kept():
    capture_log, writer = taping(max_connection_bytes=10_000)
    writer.behind = 20_000
    capture_log.flush()
    connection = capture_log.connection_opened()
    for _ in range(3):
        connection.from_client(b"x" * 30_000)
    connection.from_upstream(OK)
    connection.from_upstream(b"y" * 30_000)
    connection.from_client(GET)
    capture_log.flush()
    kinds = [(what, data if isinstance(data, tuple) else len(data)) for _, what, data, _ in writer.entries]
    assert kinds == [
        (CLIENT, 30_000),
        (CLIENT, (60_000, b"x" * TAIL_BYTES)),
        (UPSTREAM, len(OK)),
        (UPSTREAM, (30_000, b"y" * TAIL_BYTES)),
        (CLIENT, len(GET)),
    ]


async def test_gaps_of_two_directions_stay_in_order():
    capture_log, writer = taping(max_connection_bytes=100, max_bytes=1_000)
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
        for segment in writer.strips:
            capture_log.told(reader.read(segment))
        writer.strips.clear()

    return read


async def test_a_phase_is_unknown_until_the_reader_has_said_it(read: Callable[[CaptureLog, Keeping], None]):
    capture_log, writer = taping()
    connection = capture_log.connection_opened()
    assert connection.phase() == "idle"
    connection.from_client(GET)
    assert connection.phase() == "unknown"
    assert connection.phase() == "unknown"
    read(capture_log, writer)
    assert connection.phase() == "answering"
    connection.from_upstream(OK)
    assert connection.phase() == "unknown"
    connection.from_client(GET)  # what the reader says now is no longer true
    read(capture_log, writer)
    assert connection.phase() == "unknown"
    read(capture_log, writer)
    assert connection.phase() == "answering"


async def test_of_what_cannot_be_followed_nothing_more_is_noted(read: Callable[[CaptureLog, Keeping], None]):
    capture_log, writer = taping()
    connection = capture_log.connection_opened()
    connection.from_client(b"\x16\x03\x01")
    read(capture_log, writer)
    assert connection.phase() == "unfollowed"
    connection.from_client(b"\x16" * 1000)
    connection.closed()
    capture_log.flush()
    assert [entry[1] for entry in writer.entries] == [CLOSED]


async def test_without_a_reader_connections_are_counted_and_nothing_is_kept():
    capture_log = CaptureLog()
    early = capture_log.connection_opened()
    early.from_client(GET)
    assert capture_log.abandoned == 1
    capture_log.start(first := Keeping())
    watched = capture_log.connection_opened()
    watched.from_client(GET)
    capture_log.interrupt()
    capture_log.flush()
    assert capture_log.abandoned == 1 + 2
    assert first.entries == []
    capture_log.start(second := Keeping())
    watched.from_client(GET)
    assert watched.phase() == "unfollowed"
    fresh = capture_log.connection_opened()
    fresh.from_client(GET)
    capture_log.flush()
    assert [entry[0] for entry in second.entries] == [2]

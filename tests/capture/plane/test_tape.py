"""What passed goes onto the tape in order, within bounds, and without waiting for whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from exporter.capture.http1 import TAIL_BYTES
from exporter.capture.plane.tape import CLIENT, CLOSED, OVERRUN, UPSTREAM, Entry, Tape
from exporter.capture.tape_reader import TapeReader

GET = b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Keeping:
    """A reel that keeps everything; ``behind`` is what it says of the other end."""

    def __init__(self) -> None:
        self.strips: list[list[Entry]] = []
        self.behind = 0

    def write(self, strip: list[Entry], /) -> None:
        self.strips.append(strip)

    def unsent(self) -> int:
        return self.behind

    @property
    def entries(self) -> list[Entry]:
        return [entry for strip in self.strips for entry in strip]


def taping(**settings: Any) -> tuple[Tape, Keeping]:
    tape = Tape(**{"clock": lambda: 1.0} | settings)
    reel = Keeping()
    tape.start(reel)
    return tape, reel


def kept(reel: Keeping) -> int:
    return sum(len(data) for _, _, data, _ in reel.entries if isinstance(data, bytes))


async def test_entries_go_out_together_after_a_moment():
    tape, reel = taping(interval_seconds=0.01)
    one, other = tape.connection_opened(), tape.connection_opened()
    one.from_client(GET)
    other.from_client(GET)
    one.from_upstream(OK)
    one.closed()
    assert reel.strips == []
    await asyncio.sleep(0.1)
    expected = [(0, CLIENT, GET, 1.0), (1, CLIENT, GET, 1.0), (0, UPSTREAM, OK, 1.0), (0, CLOSED, b"", 1.0)]
    assert reel.strips == [expected]
    await asyncio.sleep(0.05)
    assert len(reel.strips) == 1


async def test_a_long_strip_does_not_wait():
    tape, reel = taping(interval_seconds=60.0, strip_bytes=1000)
    connection = tape.connection_opened()
    for _ in range(10):
        connection.from_client(b"x" * 300)
    assert len(reel.strips) == 3


async def test_behind_a_slow_reader_one_connection_is_bounded_and_its_bytes_are_counted():
    tape, reel = taping(max_connection_bytes=10_000)
    reel.behind = 20_000
    tape.flush()
    greedy, modest = tape.connection_opened(), tape.connection_opened()
    for _ in range(100):
        greedy.from_client(b"x" * 1_000)
    modest.from_client(GET)
    tape.flush()
    assert kept(reel) <= 10_000 + len(GET)
    passed = [
        data if isinstance(data, tuple) else (len(data), b"") for n, _, data, _ in reel.entries if n == 0
    ]
    assert sum(n_bytes for n_bytes, _ in passed) == 100_000
    assert passed[-1][1] == b"x" * TAIL_BYTES
    assert (1, CLIENT, GET, 1.0) in reel.entries
    assert len(reel.entries) < 15  # gaps that follow each other are one


async def test_when_the_reader_has_caught_up_everything_is_kept_again():
    tape, reel = taping(max_connection_bytes=10_000)
    reel.behind = 20_000
    tape.flush()
    connection = tape.connection_opened()
    connection.from_client(b"")
    connection.from_client(b"x" * 30_000)
    reel.behind = 0
    tape.flush()
    connection.from_client(b"y" * 30_000)
    tape.flush()
    assert [entry[2] for entry in reel.entries] == [b"", (30_000, b"x" * TAIL_BYTES), b"y" * 30_000]


async def test_with_a_reader_that_hangs_memory_is_bounded_and_connections_are_given_up():
    tape, reel = taping(max_bytes=100_000, max_connection_bytes=20_000, strip_bytes=1 << 30)
    reel.behind = 30_000
    tape.flush()
    connections = [tape.connection_opened() for _ in range(20)]
    for _ in range(2_000):
        for connection in connections:
            connection.from_client(b"x" * 1_000)
            connection.from_upstream(b"y" * 1_000)
    reel.behind = 100_000 + tape.max_gap_bytes
    for connection in connections:
        connection.from_client(b"x")
    tape.flush()
    assert kept(reel) <= 100_000
    assert [entry[1] for entry in reel.entries].count(OVERRUN) == 20
    assert {connection.phase() for connection in connections} == {"unfollowed"}


async def test_where_the_direction_turns_a_head_may_begin_and_is_kept():
    tape, reel = taping(max_connection_bytes=10_000)
    reel.behind = 20_000
    tape.flush()
    connection = tape.connection_opened()
    for _ in range(3):
        connection.from_client(b"x" * 30_000)
    connection.from_upstream(OK)
    connection.from_upstream(b"y" * 30_000)
    connection.from_client(GET)
    tape.flush()
    kinds = [(what, data if isinstance(data, tuple) else len(data)) for _, what, data, _ in reel.entries]
    assert kinds == [
        (CLIENT, 30_000),
        (CLIENT, (60_000, b"x" * TAIL_BYTES)),
        (UPSTREAM, len(OK)),
        (UPSTREAM, (30_000, b"y" * TAIL_BYTES)),
        (CLIENT, len(GET)),
    ]


async def test_gaps_of_two_directions_stay_in_order():
    tape, reel = taping(max_connection_bytes=100, max_bytes=1_000)
    reel.behind = 1_000
    tape.flush()
    connection = tape.connection_opened()
    for record in (
        connection.from_client,
        connection.from_client,
        connection.from_upstream,
        connection.from_client,
    ):
        record(b"x" * 500)
    tape.flush()
    assert [(what, data[0]) for _, what, data, _ in reel.entries] == [
        (CLIENT, 1000),
        (UPSTREAM, 500),
        (CLIENT, 500),
    ]


@pytest.fixture
def read() -> Callable[[Tape, Keeping], None]:
    reader = TapeReader(lambda _method, _path: True, lambda *_: None)

    def read(tape: Tape, reel: Keeping) -> None:
        tape.flush()
        for strip in reel.strips:
            tape.told(reader.read(strip))
        reel.strips.clear()

    return read


async def test_a_phase_is_unknown_until_the_reader_has_said_it(read: Callable[[Tape, Keeping], None]):
    tape, reel = taping()
    connection = tape.connection_opened()
    assert connection.phase() == "idle"
    connection.from_client(GET)
    assert connection.phase() == "unknown"
    assert connection.phase() == "unknown"
    read(tape, reel)
    assert connection.phase() == "answering"
    connection.from_upstream(OK)
    assert connection.phase() == "unknown"
    connection.from_client(GET)  # what the reader says now is no longer true
    read(tape, reel)
    assert connection.phase() == "unknown"
    read(tape, reel)
    assert connection.phase() == "answering"


async def test_of_what_cannot_be_followed_nothing_more_is_noted(read: Callable[[Tape, Keeping], None]):
    tape, reel = taping()
    connection = tape.connection_opened()
    connection.from_client(b"\x16\x03\x01")
    read(tape, reel)
    assert connection.phase() == "unfollowed"
    connection.from_client(b"\x16" * 1000)
    connection.closed()
    tape.flush()
    assert [entry[1] for entry in reel.entries] == [CLOSED]


async def test_without_a_reader_connections_are_counted_and_nothing_is_kept():
    tape = Tape()
    early = tape.connection_opened()
    early.from_client(GET)
    assert tape.abandoned == 1
    tape.start(first := Keeping())
    watched = tape.connection_opened()
    watched.from_client(GET)
    tape.interrupt()
    tape.flush()
    assert tape.abandoned == 1 + 2
    assert first.entries == []
    tape.start(second := Keeping())
    watched.from_client(GET)
    assert watched.phase() == "unfollowed"
    fresh = tape.connection_opened()
    fresh.from_client(GET)
    tape.flush()
    assert [entry[0] for entry in second.entries] == [2]

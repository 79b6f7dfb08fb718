"""What strangers can make the followers hold is on one account, and bounded by it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from exporter.http.http1.follower import Http1Follower
from exporter.http.http1.transactions import Observer
from tests.http.conversations import GET, OK, follow, post, wanting

MEGABYTE = 1 << 20
MANY_FIELDS = b"ab:c\r\n" * 3000
CHUNKED = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

Flood = Iterator[tuple[int, bytes]]
"""Numbers of connections, and what the client of each sends next."""


def pipelined_heads() -> Flood:
    """Thirty times their bytes, once they are parsed."""
    for i in range(60):
        yield i % 20, b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, MANY_FIELDS)


def lone_heads() -> Flood:
    """The same, each on a connection of its own, and then once more, so that each is remembered."""
    for _ in range(2):
        for i in range(20):
            yield i, b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, MANY_FIELDS)


def short_chunks() -> Flood:
    """Bodies in chunks of two bytes, whose ends and beginnings come together."""
    for i in range(3):
        yield i, CHUNKED + b"2"
    for i in range(12):
        yield i % 3, b"\r\nab\r\n2" * 4096


def bytewise_bodies() -> Flood:
    for i in range(3):
        yield i, b"POST /p HTTP/1.1\r\nContent-Length: 900000\r\n\r\n"
    for i in range(9_000):
        yield i % 3, b"x"


def incomplete_heads() -> Flood:
    for i in range(40):
        yield i, b"GET / HTTP/1.1\r\nX: " + b"y" * 60_000


def incomplete_lines() -> Flood:
    for i in range(300):
        yield i, CHUNKED + b"5;" + b"x" * 8000


def ahead_of_a_switch() -> Flood:
    for i in range(40):
        yield i, b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        for _ in range(150):
            yield i, b"y"
        yield i, b"y" * 40_000


FLOODS: dict[str, Callable[[], Flood]] = {
    flood.__name__: flood
    for flood in (
        pipelined_heads,
        lone_heads,
        short_chunks,
        bytewise_bodies,
        incomplete_heads,
        incomplete_lines,
        ahead_of_a_switch,
    )
}


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("name", FLOODS)
def test_what_is_held_is_on_the_account(name: str, wanted: bool) -> None:
    observer = wanting(wanted, max_body_bytes=MEGABYTE, max_kept_bytes=MEGABYTE)
    followers: dict[int, Http1Follower] = {}
    at = 0.0
    tracemalloc.start()
    try:
        for number, data in FLOODS[name]():
            follower = followers.get(number)
            if follower is None:
                follower = followers[number] = Http1Follower(observer)
            follower.from_client(data, at)
            assert observer.account.n_bytes <= MEGABYTE
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Each connection costs something of its own, and growing buffers an eighth more than is in them.
    assert held <= 1.3 * observer.account.n_bytes + 3000 * len(followers) + 200_000
    for follower in followers.values():
        follower.closed(1.0)
    observer.requests.clear()
    observer.responses.clear()
    assert observer.account.n_bytes == 0


def test_heads_that_nobody_wants_are_not_kept_and_go_on_being_followed() -> None:
    observer = wanting(False, max_kept_bytes=8 * MEGABYTE)
    steps = [("up", data) for _, data in pipelined_heads()]
    follower, found = follow(*steps, ("down", OK * 60), observer=observer)
    assert follower.reason is None
    assert len(found) == 60


def test_headers_of_responses_are_on_the_account() -> None:
    observer = wanting(max_kept_bytes=8 * MEGABYTE)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Id: %d\r\n" + MANY_FIELDS + b"\r\n"
    for i in range(20):
        follow(("up", post(b"x")), ("down", head % i), ("down", b"abc"), observer=observer)
        assert observer.account.n_bytes <= 8 * MEGABYTE
    assert observer.account.n_bytes > 6 * MEGABYTE


def test_beyond_the_bound_a_connection_is_overrun_and_others_go_on() -> None:
    observer = wanting(max_kept_bytes=MEGABYTE)
    reasons = []
    for _ in range(30):
        follower, _ = follow(("up", b"GET / HTTP/1.1\r\nX: " + b"y" * 60_000), observer=observer)
        reasons.append(follower.reason)
    assert reasons[:17] == [None] * 17
    assert set(reasons[17:]) == {"overrun"}
    assert observer.account.n_bytes <= MEGABYTE
    follower, (exchange,) = follow(("up", GET), ("down", OK), observer=observer)
    assert (follower.reason, exchange.status) == (None, 200)


def test_bodies_leave_room_for_the_rest() -> None:
    observer = wanting(max_body_bytes=MEGABYTE, max_kept_bytes=MEGABYTE)
    uploads = [Http1Follower(observer) for _ in range(20)]
    for follower in uploads:
        follower.from_client(post(b"x" * 100_000)[:-1], 0.0)
    assert [follower.reason for follower in uploads] == [None] * 20
    assert observer.account.n_bytes < 0.8 * MEGABYTE
    follower, (exchange,) = follow(("up", GET), ("down", OK), observer=observer)
    assert follower.reason is None
    assert not exchange.request_truncated


def test_many_connections_that_are_alike_hold_one_head() -> None:
    observer = Observer(lambda _m, _p: True, max_body_bytes=100, max_kept_bytes=MEGABYTE)
    followers = [Http1Follower(observer) for _ in range(1000)]
    for follower in followers:
        follower.from_client(GET, 0.0)
        follower.from_upstream(OK, 1.0)
    assert 0 < observer.account.n_bytes < 5_000
    for follower in followers:
        follower.closed(2.0)
    observer.requests.clear()
    observer.responses.clear()
    assert observer.account.n_bytes == 0

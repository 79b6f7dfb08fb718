"""Exchanges of which each message comes in one piece or two: the short way, and where it leads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.http.exchange import Exchange
from exporter.http.http1.follower import Http1Follower
from exporter.http.http1.transactions import CompleteExchange, Observer
from exporter.pipeline.packing import pack, unpack
from tests.http.conversations import (
    GET,
    OK,
    Counted,
    K,
    Transaction,
    cuts,
    follow,
    found,
    held,
    post,
    transactions,
    wanting,
    with_room_for,
)

SLOTS = [name for name in Exchange.__slots__ if not name.startswith("_")]
COUNTED = ("request_body", "request_size", "response_body", "response_size")


def everything(exchange: Exchange | Counted) -> object:
    """All that an exchange says."""
    if isinstance(exchange, Counted):
        return exchange
    return {name: getattr(exchange, name) for name in (*SLOTS, *COUNTED)}


def fed(observer: Observer, pieces: list[tuple[list[bytes], list[bytes]]]) -> tuple[Http1Follower, list[Any]]:
    """Feed exchange after exchange, the pieces of each message at one time."""
    follower = Http1Follower(observer)
    for at, (up, down) in enumerate(pieces):
        for piece in up:
            follower.from_client(piece, float(at))
        for piece in down:
            follower.from_upstream(piece, at + 0.5)
    return follower, [everything(e) for e in found(observer)]


def in_two(message: bytes) -> list[bytes]:
    """A head and what comes after it, if anything does."""
    head, end, body = message.partition(b"\r\n\r\n")
    return [piece for piece in (head + end, body) if piece]


def is_followed_at_length(follower: Http1Follower) -> bool:
    return follower._connection is not None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(transactions(), st.sampled_from([b"", b"\r\n", b"\n\r\n"])), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([5, 1000]),
    st.data(),
)
def test_whole_messages_say_what_cut_ones_do(
    conversation: list[tuple[Transaction, bytes]], wanted: bool, max_body_bytes: int, data: st.DataObject
) -> None:
    places = st.lists(st.integers(0, 400), max_size=4)
    whole, parted, cut = [], [], []
    for one, newlines in conversation:
        up, down = newlines + one.up, one.down
        whole.append(([up], [down]))
        parted.append((in_two(up), in_two(down)))
        # The time of the first byte counts, and empty lines are not it.
        cut.append((list(cuts(up, data.draw(places))), list(cuts(down, data.draw(places)))))
    one, two, other = (wanting(wanted, max_body_bytes=max_body_bytes) for _ in range(3))
    (short, seen), (middle, seen_too), (long, expected) = fed(one, whole), fed(two, parted), fed(other, cut)
    assert seen == seen_too == expected
    assert len(seen) == len(conversation)
    assert short.reason is middle.reason is long.reason is None
    assert short.state == middle.state == long.state
    assert held(one) == held(two) == held(other) == 0
    # Heads that are known by now are read by their bytes alone.
    assert fed(one, whole)[1] == expected * 2
    assert fed(one, whole)[1] == expected * 3


@pytest.mark.parametrize("wanted", [True, False])
def test_most_messages_take_the_short_way(wanted: bool) -> None:
    observer = wanting(wanted)
    up, down = post(b"xyz"), OK
    halves = [("up", up[:-3]), ("up", up[-3:]), ("down", down[:-1]), ("down", down[-1:])]
    follower, seen = follow(
        ("up", up), ("down", down), *halves, ("up", up), ("down", down), observer=observer
    )
    assert not is_followed_at_length(follower)
    assert [type(e) for e in seen] == [CompleteExchange if wanted else Counted] * 3
    assert [(e.started, e.ended) for e in seen] == [(0.0, 1.0), (2.0, 5.0), (6.0, 7.0)]
    follower.from_client(GET[:9], 8.0)
    assert is_followed_at_length(follower)
    follower.from_client(GET[9:], 8.0)
    follower.from_upstream(OK, 9.0)
    follower.from_client(post(b"xyz"), 10.0)
    assert follower._head is not None  # the short way again
    follower.from_upstream(OK, 11.0)
    assert [type(e) for e in found(observer)[3:]] == [CompleteExchange if wanted else Counted] * 2


def test_a_complete_exchange_lacks_nothing_that_an_exchange_has() -> None:
    _, (exchange,) = follow(("up", post(b"xyz")), ("down", OK))
    assert isinstance(exchange, CompleteExchange)
    for name in Exchange.__slots__:
        getattr(exchange, name)

    def refuse(*_: str) -> None:
        raise AssertionError

    assert everything(unpack(pack(exchange, "sidecar", refuse))[1]) == everything(exchange)


ANOTHER_WAY: dict[str, tuple[bytes, bytes]] = {
    "a request after which the connection ends": (
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        OK,
    ),
    "a request that may switch": (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", OK),
    "an answer without a body, of a length": (
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    ),
    "an answer that was not changed": (GET, b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n"),
    "an answer after another that only informs": (GET, b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK),
    "a chunked answer": (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
    "two answers": (GET + GET, OK + OK),
}


@pytest.mark.parametrize("name", ANOTHER_WAY)
def test_what_has_other_rules_goes_another_way(name: str) -> None:
    up, down = ANOTHER_WAY[name]
    # A head known from before must not lead astray.
    observer = wanting()
    for _ in range(3):
        observer.exchanges.clear()
        follower, found = follow(("up", up), ("down", down), observer=observer)
        assert is_followed_at_length(follower)
        assert {type(e) for e in found} == {CompleteExchange}
        assert follower.reason is None
        assert follower.state == ("MUST_CLOSE" if b"close" in up else "IDLE")


@pytest.mark.parametrize(
    ("up", "first", "then", "statuses", "reason"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", OK, b"", [200], "malformed"),
        (GET, b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nok", b"", [304], "malformed"),
        (GET, b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", OK, [200], None),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", OK, OK, [200], "malformed"),
    ],
)
def test_a_length_that_does_not_count(
    up: bytes, first: bytes, then: bytes, statuses: list[int], reason: str | None
) -> None:
    follower, found = follow(("up", up), ("down", first), ("down", then))
    assert [e.status for e in found] == statuses
    assert follower.reason == reason


def test_nothing_counts_after_the_last_request() -> None:
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    _, found = follow(("up", last), ("down", OK), ("up", GET), ("closed", None))
    assert [e.path for e in found] == ["/"]


def test_an_answer_too_long_to_be_kept_is_counted() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % K + b"x" * K
    for observer in (wanting(max_body_bytes=K - 1), with_room_for(K // 2)):
        _, (exchange,) = follow(("up", post(b"four")), ("down", answer), observer=observer)
        assert (exchange.request_truncated, exchange.response_truncated) == (False, True)
        assert (exchange.request_body, exchange.response_size) == (b"four", K)
        assert held(observer) == 0


def test_a_body_too_long_to_be_kept_takes_no_room_from_others() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    _, (exchange,) = follow(("up", post(b"y" * 350)), ("down", answer), observer=wanting(max_body_bytes=100))
    assert (exchange.request_truncated, exchange.response_truncated) == (True, False)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("steps", "reason", "statuses"),
    [
        ([("closed", None)], None, [502]),
        ([("up", GET), ("down", OK), ("down", OK)], None, [200, 200]),
        ([("up", GET[:7]), ("down", OK), ("up", GET[7:]), ("down", OK)], None, [200, 200]),
        ([("down", OK[:9]), ("down", OK[9:])], None, [200]),
        ([("down", OK[:9]), ("closed", None)], None, [502]),
        ([("down", OK + OK)], "malformed", [200]),
        ([("down", b"?")], "malformed", []),
        ([("down gap", 3)], "overrun", []),
        ([("up gap", 3)], "overrun", []),
        ([("down", b""), ("closed", None)], None, [502]),
        ([("up", b""), ("down", OK)], None, [200]),
    ],
)
def test_a_request_that_waits_is_taken_over(
    steps: list[tuple[str, Any]], reason: str | None, statuses: list[int], wanted: bool
) -> None:
    observer = wanting(wanted)
    follower, found = follow(("up", post(b"xyz")), *steps, observer=observer)
    assert follower.reason == reason
    assert [e.status for e in found] == statuses
    assert len(observer.exchanges) == (statuses.count(200) if wanted else 0)
    assert held(observer) == 0
    for exchange in found[:1]:
        assert (exchange.method, exchange.path, exchange.started) == ("POST", "/p", 0.0)
        assert exchange.request_size == 3
        assert isinstance(exchange, Counted) or exchange.request_body == b"xyz"


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("steps", "reason", "state", "sizes"),
    [
        ([("up", b"yz")], None, "DONE", []),
        ([("up", b"y")], None, "SEND_BODY", []),
        ([("up", b"y"), ("up", b"z"), ("down", OK)], None, "IDLE", [(3, 2)]),
        ([("up", b"yz" + GET), ("down", OK + OK)], None, "IDLE", [(3, 2), (0, 2)]),
        ([("up", b""), ("up", b"yz"), ("down", OK)], None, "IDLE", [(3, 2)]),
        ([("up gap", 2), ("down", OK)], None, "IDLE", [(3, 2)]),
        ([("up gap", 3)], "overrun", "ERROR", []),
        ([("down", OK), ("up", b"yz")], None, "IDLE", [(3, 2)]),
        ([("down", OK[:-1]), ("up", b"yz"), ("down", b"k")], None, "IDLE", [(3, 2)]),
        ([("closed", None)], None, "IDLE", [(1, 0)]),
        ([("up", b"yz"), ("down", OK[:-1])], None, "DONE", []),
        ([("up", b"yz"), ("down", OK[:-2]), ("down", b"o"), ("down", b"k")], None, "IDLE", [(3, 2)]),
        ([("up", b"yz"), ("down", OK[:-1]), ("down", b"k" + OK)], "malformed", "ERROR", [(3, 2)]),
        (
            [("up", b"yz"), ("down", OK[:-1]), ("up", GET), ("down", b"k" + OK)],
            None,
            "IDLE",
            [(3, 2), (0, 2)],
        ),
        ([("up", b"yz"), ("down", OK[:-1]), ("down", b"k")], None, "IDLE", [(3, 2)]),
        (
            [("up", b"yz"), ("down", OK[:-1]), ("up", GET[:1]), ("up", GET[1:]), ("down", b"k" + OK)],
            None,
            "IDLE",
            [(3, 2), (0, 2)],
        ),
        ([("up", b"yz"), ("down", OK[:-2]), ("down gap", 2)], None, "IDLE", [(3, 2)]),
        ([("up", b"yz"), ("down", OK[:-1]), ("down gap", 2)], "overrun", "ERROR", []),
        ([("up", b"yz"), ("down", OK[:-1]), ("closed", None)], None, "IDLE", [(3, 1)]),
        ([("up", b"yz"), ("down", OK[:-1]), ("down", b"")], None, "MUST_CLOSE", [(3, 1)]),
    ],
)
def test_a_message_that_comes_in_parts_is_taken_over(
    steps: list[tuple[str, Any]], reason: str | None, state: str, sizes: list[tuple[int, int]], wanted: bool
) -> None:
    observer = wanting(wanted)
    follower, found = follow(("up", post(b"xyz")[:-2]), *steps, observer=observer)
    assert (follower.reason, follower.state) == (reason, state)
    assert [(e.request_size, e.response_size) for e in found] == sizes
    for exchange in observer.exchanges[:1]:
        assert exchange.request_truncated or exchange.request_body == b"xyz"[: exchange.request_size]
        assert exchange.response_truncated or exchange.response_body == b"ok"[: exchange.response_size]
    follower.closed(9.0)
    assert held(observer) == 0


def test_only_what_passed_is_counted_as_kept() -> None:
    observer = with_room_for(10 * K)
    follow(("up", post(b"x" * 3 * K)[: -2 * K]), observer=observer)
    assert K <= held(observer) < 1.2 * K
    up = post(b"y" * 8 * K)
    down = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * K) + b"z" * 2 * K
    one, _ = follow(("up", up[: -8 * K]), ("up", up[-8 * K :]), ("down", down[: -2 * K]), observer=observer)
    assert 9 * K <= held(observer) < 9.4 * K
    one.from_upstream(down[-2 * K :], 9.0)
    (exchange,) = observer.exchanges
    assert (exchange.request_body, exchange.response_size) == (b"y" * 8 * K, 2 * K)
    assert exchange.response_truncated
    assert K <= held(observer) < 1.2 * K


def test_room_that_was_there_for_the_first_part_may_be_gone_for_the_second() -> None:
    observer = with_room_for(4 * K)
    first, second = Http1Follower(observer), Http1Follower(observer)
    upload = post(b"x" * 3 * K)
    first.from_client(upload[: -2 * K], 0.0)
    second.from_client(post(b"y" * 2 * K), 1.0)
    first.from_client(upload[-2 * K :], 2.0)
    assert held(observer) < 2.5 * K  # half a body is let go
    first.from_upstream(OK, 3.0)
    assert [(e.request_truncated, e.response_truncated) for e in observer.exchanges] == [(True, False)]
    down = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * K) + b"z" * 2 * K
    second.from_upstream(down[:-K], 4.0)
    third, _ = follow(("up", post(b"1" * K)), observer=observer)
    second.from_upstream(down[-K:], 5.0)
    third.from_upstream(OK, 6.0)
    assert [(e.request_truncated, e.response_truncated) for e in observer.exchanges[1:]] == [
        (False, True),
        (False, False),
    ]
    assert held(observer) == 0


def test_exchanges_wanted_and_not_on_one_connection() -> None:
    observer = Observer(lambda _, path: path == "/p", max_body_bytes=100, max_kept_bytes=1 << 20)
    other = post(b"abcd", b"/other")
    steps = [("up", post(b"xyz")), ("down", OK[:-1]), ("down", b"k"), ("up", other[:-1]), ("closed", None)]
    follow(*steps, observer=observer)
    assert [(e.path, e.request_body, e.response_body) for e in observer.exchanges] == [("/p", b"xyz", b"ok")]
    assert observer.summaries == [("POST", "/other", 502, 3.0, 4.0, 3, 0)]
    assert held(observer) == 0


def test_the_body_of_a_request_that_waits_is_counted_as_kept() -> None:
    observer = with_room_for(10 * K)
    followers = [Http1Follower(observer) for _ in range(4)]
    for follower in followers:
        follower.from_client(post(b"x" * 4 * K), 0.0)
        assert follower.state == "DONE"
    assert 8 * K <= held(observer) < 8.5 * K
    for follower in followers:
        follower.from_upstream(OK, 1.0)
    assert [e.request_truncated for e in observer.exchanges] == [False, False, True, True]
    assert [e.request_size for e in observer.exchanges] == [4 * K] * 4
    assert held(observer) == 0


def test_giving_up_lets_go_of_a_request_that_waits() -> None:
    observer = wanting(max_body_bytes=K)
    follower, _ = follow(("up", post(b"x" * K)), observer=observer)
    assert K <= held(observer) < 1.2 * K
    follower.give_up("failed")
    follower.give_up("overrun")
    assert (follower.reason, follower.state, held(observer)) == ("failed", "ERROR", 0)
    follower.from_upstream(OK, 1.0)
    assert observer.exchanges == []

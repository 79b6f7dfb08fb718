"""Exchanges of which each message comes in one piece or two: the short way, and where it leads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.http.exchange import Exchange
from exporter.http.http1.complete import WholeExchange
from exporter.http.http1.follower import Http1Follower, Observer
from exporter.pipeline.packing import pack, unpack
from tests.http.conversations import GET, OK, Counted, Turn, cuts, follow, found, post, turns, wanting

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


def converses(follower: Http1Follower) -> bool:
    return follower._conversation is not None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(turns(), st.sampled_from([b"", b"\r\n", b"\n\r\n"])), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([5, 1000]),
    st.data(),
)
def test_whole_messages_say_what_cut_ones_do(
    conversation: list[tuple[Turn, bytes]], wanted: bool, max_body_bytes: int, data: st.DataObject
) -> None:
    places = st.lists(st.integers(0, 400), max_size=4)
    whole, parted, cut = [], [], []
    for turn, newlines in conversation:
        up, down = newlines + turn.up, turn.down
        whole.append(([up], [down]))
        parted.append((in_two(up), in_two(down)))
        # The time of the first byte counts, and empty lines are not it.
        cut.append((list(cuts(up, data.draw(places))), list(cuts(down, data.draw(places)))))
    one, two, other = (wanting(wanted, max_body_bytes=max_body_bytes) for _ in range(3))
    (short, seen), (middle, seen_too), (long, expected) = fed(one, whole), fed(two, parted), fed(other, cut)
    assert seen == seen_too == expected
    assert len(seen) == len(conversation)
    assert short.kind is middle.kind is long.kind is None
    assert short.phase == middle.phase == long.phase
    assert one.kept_bytes == two.kept_bytes == other.kept_bytes == 0
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
    assert not converses(follower)
    assert [type(e) for e in seen] == [WholeExchange if wanted else Counted] * 3
    assert [(e.started, e.ended) for e in seen] == [(0.0, 1.0), (2.0, 5.0), (6.0, 7.0)]
    follower.from_client(GET[:9], 8.0)
    assert converses(follower)
    follower.from_client(GET[9:], 8.0)
    follower.from_upstream(OK, 9.0)
    follower.from_client(post(b"xyz"), 10.0)
    follower.from_upstream(OK, 11.0)
    assert [type(e) for e in found(observer)[3:]] == ([Exchange, WholeExchange] if wanted else [Counted] * 2)


def test_a_whole_exchange_lacks_nothing_that_an_exchange_has() -> None:
    _, (exchange,) = follow(("up", post(b"xyz")), ("down", OK))
    assert isinstance(exchange, WholeExchange)
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
        assert converses(follower)
        assert {type(e) for e in found} == {Exchange}
        assert follower.kind is None
        assert follower.phase == "idle"


@pytest.mark.parametrize(
    ("up", "first", "then", "statuses", "kind"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", OK, b"", [200], "malformed"),
        (GET, b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nok", b"", [304], "malformed"),
        (GET, b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", OK, [200], None),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", OK, OK, [200], "malformed"),
    ],
)
def test_a_length_that_does_not_count(
    up: bytes, first: bytes, then: bytes, statuses: list[int], kind: str | None
) -> None:
    follower, found = follow(("up", up), ("down", first), ("down", then))
    assert [e.status for e in found] == statuses
    assert follower.kind == kind


def test_nothing_counts_after_the_last_request() -> None:
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    _, found = follow(("up", last), ("down", OK), ("up", GET), ("closed", None))
    assert [e.path for e in found] == ["/"]


def test_an_answer_too_long_to_be_kept_is_counted() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101
    for settings_ in ({"max_body_bytes": 100}, {"max_kept_bytes": 104}):
        observer = wanting(**settings_)
        _, (exchange,) = follow(("up", post(b"four")), ("down", answer), observer=observer)
        assert (exchange.request_truncated, exchange.response_truncated) == (False, True)
        assert (exchange.request_body, exchange.response_size) == (b"four", 101)
        assert observer.kept_bytes == 0


def test_a_body_too_long_to_be_kept_takes_no_room_from_others() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    _, (exchange,) = follow(("up", post(b"y" * 350)), ("down", answer), observer=wanting(max_body_bytes=100))
    assert (exchange.request_truncated, exchange.response_truncated) == (True, False)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("steps", "kind", "aborted"),
    [
        ([("closed", None)], None, [True]),
        ([("up", GET), ("down", OK), ("down", OK)], None, [False, False]),
        ([("up", GET[:7]), ("down", OK), ("up", GET[7:]), ("down", OK)], None, [False, False]),
        ([("down", OK[:9]), ("down", OK[9:])], None, [False]),
        ([("down", OK[:9]), ("closed", None)], None, [True]),
        ([("down", OK + OK)], "malformed", [False]),
        ([("down", b"?")], "malformed", []),
        ([("down gap", 3)], "overrun", []),
        ([("up gap", 3)], "overrun", []),
        ([("down", b""), ("closed", None)], None, [True]),
        ([("up", b""), ("down", OK)], None, [False]),
    ],
)
def test_a_request_that_waits_is_taken_over(
    steps: list[tuple[str, Any]], kind: str | None, aborted: list[bool], wanted: bool
) -> None:
    observer = wanting(wanted)
    follower, found = follow(("up", post(b"xyz")), *steps, observer=observer)
    assert follower.kind == kind
    assert [e.aborted for e in observer.exchanges] == (aborted if wanted else [])
    assert len(found) == len(aborted)
    assert observer.kept_bytes == 0
    for exchange in found[:1]:
        assert (exchange.method, exchange.path, exchange.started) == ("POST", "/p", 0.0)
        assert exchange.request_size == 3
        assert not wanted or exchange.request_body == b"xyz"


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("steps", "kind", "phase", "sizes"),
    [
        ([("up", b"yz")], None, "answering", []),
        ([("up", b"y")], None, "asking", []),
        ([("up", b"y"), ("up", b"z"), ("down", OK)], None, "idle", [(3, 2)]),
        ([("up", b"yz" + GET), ("down", OK + OK)], None, "idle", [(3, 2), (0, 2)]),
        ([("up", b""), ("up", b"yz"), ("down", b""), ("down", OK)], None, "idle", [(3, 2)]),
        ([("up gap", 2), ("down", OK)], None, "idle", [(3, 2)]),
        ([("up gap", 3)], "overrun", "unfollowed", []),
        ([("down", OK), ("up", b"yz")], None, "idle", [(3, 2)]),
        ([("down", OK[:-1]), ("up", b"yz"), ("down", b"k")], None, "idle", [(3, 2)]),
        ([("closed", None)], None, "idle", [(1, 0)]),
        ([("up", b"yz"), ("down", OK[:-1])], None, "answering", []),
        ([("up", b"yz"), ("down", OK[:-2]), ("down", b"o"), ("down", b"k")], None, "idle", [(3, 2)]),
        ([("up", b"yz"), ("down", OK[:-1]), ("down", b"k" + OK)], "malformed", "unfollowed", [(3, 2)]),
        (
            [("up", b"yz"), ("down", OK[:-1]), ("up", GET), ("down", b"k" + OK)],
            None,
            "idle",
            [(3, 2), (0, 2)],
        ),
        ([("up", b"yz"), ("down", OK[:-1]), ("down", b"k")], None, "idle", [(3, 2)]),
        (
            [("up", b"yz"), ("down", OK[:-1]), ("up", GET[:1]), ("up", GET[1:]), ("down", b"k" + OK)],
            None,
            "idle",
            [(3, 2), (0, 2)],
        ),
        ([("up", b"yz"), ("down", OK[:-2]), ("down gap", 2)], None, "idle", [(3, 2)]),
        ([("up", b"yz"), ("down", OK[:-1]), ("down gap", 2)], "overrun", "unfollowed", []),
        ([("up", b"yz"), ("down", OK[:-1]), ("closed", None)], None, "idle", [(3, 1)]),
        ([("up", b"yz"), ("down", OK[:-1]), ("down", b""), ("down", b"k")], None, "idle", [(3, 2)]),
    ],
)
def test_a_message_that_comes_in_parts_is_taken_over(
    steps: list[tuple[str, Any]], kind: str | None, phase: str, sizes: list[tuple[int, int]], wanted: bool
) -> None:
    observer = wanting(wanted)
    follower, found = follow(("up", post(b"xyz")[:-2]), *steps, observer=observer)
    assert (follower.kind, follower.phase) == (kind, phase)
    assert [(e.request_size, e.response_size) for e in found] == sizes
    for exchange in found[:1] if wanted else ():
        assert exchange.request_truncated or exchange.request_body == b"xyz"[: exchange.request_size]
        assert exchange.response_truncated or exchange.response_body == b"ok"[: exchange.response_size]
    follower.closed(9.0)
    assert observer.kept_bytes == 0


def test_only_what_passed_is_counted_as_kept() -> None:
    observer = wanting(max_kept_bytes=10)
    follow(("up", post(b"xyz")[:-2]), observer=observer)
    assert observer.kept_bytes == 1
    one, _ = follow(
        *(("up", post(b"12345678")[:-8]), ("up", b"12345678"), ("down", OK[:-2])), observer=observer
    )
    assert observer.kept_bytes == 9
    one.from_upstream(b"ok", 9.0)
    (exchange,) = observer.exchanges
    assert (exchange.request_body, exchange.response_size) == (b"12345678", 2)
    assert exchange.response_truncated
    assert observer.kept_bytes == 1


def test_room_that_was_there_for_the_first_part_may_be_gone_for_the_second() -> None:
    observer = wanting(max_kept_bytes=4)
    first, second = Http1Follower(observer), Http1Follower(observer)
    first.from_client(post(b"xyz")[:-2], 0.0)
    second.from_client(post(b"12"), 1.0)
    first.from_client(b"yz", 2.0)
    first.from_upstream(OK, 3.0)
    assert [(e.request_truncated, e.response_truncated) for e in observer.exchanges] == [(True, True)]
    second.from_upstream(OK[:-1], 4.0)
    third, _ = follow(("up", post(b"1")), observer=observer)
    second.from_upstream(b"k", 5.0)
    third.from_upstream(OK, 6.0)
    assert [(e.request_truncated, e.response_truncated) for e in observer.exchanges[1:]] == [
        (False, True),
        (False, False),
    ]
    assert observer.kept_bytes == 0


def test_exchanges_wanted_and_not_on_one_connection() -> None:
    observer = Observer(lambda _, path: path == "/p", max_body_bytes=100, max_kept_bytes=100)
    other = post(b"abcd", b"/other")
    steps = [("up", post(b"xyz")), ("down", OK[:-1]), ("down", b"k"), ("up", other[:-1]), ("closed", None)]
    follow(*steps, observer=observer)
    assert [(e.path, e.request_body, e.response_body) for e in observer.exchanges] == [("/p", b"xyz", b"ok")]
    assert observer.passed == [("POST", "/other", 0, 3.0, 4.0, 3, 0)]
    assert observer.kept_bytes == 0


def test_the_body_of_a_request_that_waits_is_counted_as_kept() -> None:
    observer = wanting(max_kept_bytes=10)
    followers = [Http1Follower(observer) for _ in range(4)]
    for follower in followers:
        follower.from_client(post(b"four"), 0.0)
        assert follower.phase == "answering"
    assert observer.kept_bytes == 8
    for follower in followers:
        follower.from_upstream(OK, 1.0)
    assert [e.request_truncated for e in observer.exchanges] == [False, False, True, True]
    assert [e.request_size for e in observer.exchanges] == [4] * 4
    assert observer.kept_bytes == 0


def test_giving_up_lets_go_of_a_request_that_waits() -> None:
    observer = wanting()
    follower, _ = follow(("up", post(b"four")), observer=observer)
    assert observer.kept_bytes == 4
    follower.give_up("failed")
    follower.give_up("overrun")
    assert (follower.kind, follower.phase, observer.kept_bytes) == ("failed", "unfollowed", 0)
    follower.from_upstream(OK, 1.0)
    assert observer.exchanges == []

"""Heads that were read are remembered within bounds."""

from __future__ import annotations

import tracemalloc
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from exporter.http.http1.heads import Heads, RequestHead, ResponseHead, parse_request, parse_response
from exporter.http.http1.states import Account
from tests.http.conversations import GET, OK


def parse(text: bytes) -> ResponseHead:
    """A head that says what text it is of, and costs nothing beside it."""
    return ResponseHead(headers=[(text, b"")], length=0, size=0, full_size=0, cost=0, status=200)


def remembering(max_items: int, max_bytes: int, room: int = 1 << 30) -> tuple[Heads[ResponseHead], Account]:
    account = Account(room, 1000)
    heads: Heads[ResponseHead] = Heads(parse, account)
    heads.max_items, heads.max_bytes = max_items, max_bytes
    return heads, account


@given(
    st.integers(1, 4),
    st.sampled_from([16, 40, 100]),
    st.lists(st.binary(min_size=1, max_size=8), max_size=60),
)
def test_what_is_remembered_is_right_and_bounded(max_items: int, max_bytes: int, keys: list[bytes]) -> None:
    heads, account = remembering(max_items, max_bytes)
    came: set[bytes] = set()
    for key in keys:
        before = heads.known.get(key)
        head = heads.read(key)
        assert head is not None
        assert head.headers == [(key, b"")]
        assert before is None or head is before
        if key not in came or len(key) > max_bytes // 16:
            assert key not in heads.known
        came.add(key)
        assert len(heads.known) <= max_items
        assert account.n_bytes == sum(map(len, heads.known)) <= max_bytes
        assert len(heads._came) <= 8 * max_items
    heads.clear()
    assert not heads.known
    assert account.n_bytes == 0


def test_what_comes_once_pushes_nothing_out() -> None:
    heads, _ = remembering(8, 1000)
    for _ in range(2):
        used = heads.read(b"used")
    for i in range(1000):
        heads.read(b"%d" % i)
    assert heads.known == {b"used": used}


def test_what_is_used_returns() -> None:
    heads, _ = remembering(8, 1000)
    for i in range(100):
        for key in (b"used", b"%d" % i):
            for _ in range(2):
                heads.read(key)
            assert key in heads.known


def test_what_is_remembered_takes_a_quarter_of_the_room() -> None:
    heads, account = remembering(100, 10_000, room=1000)
    for key in (b"x" * 100, b"y" * 100, b"z" * 100):
        for _ in range(2):
            heads.read(key)
    assert list(heads.known) == [b"x" * 100, b"y" * 100]
    assert account.n_bytes == 200


def test_what_several_hold_costs_once() -> None:
    heads, account = remembering(100, 10_000)
    head = parse(b"")
    head.cost = 100
    heads.hold(head)
    heads.hold(head)
    heads.release(head)
    assert account.n_bytes == 100
    heads.release(head)
    assert account.n_bytes == 0


def test_equal_heads_are_read_twice_and_no_more() -> None:
    asked: list[str] = []
    account = Account(1 << 30, 1000)
    requests: Heads[RequestHead] = Heads(
        partial(parse_request, lambda _, path: asked.append(path) is None), account
    )
    responses: Heads[ResponseHead] = Heads(parse_response, account)
    found = [requests.read(bytes(bytearray(GET))) for _ in range(5)]
    answers = [responses.read(bytes(bytearray(OK[:-2]))) for _ in range(5)]
    assert asked == ["/a", "/a"]
    assert len(set(map(id, found[1:]))) == len(set(map(id, answers[1:]))) == 1
    requests.clear()
    requests.read(GET)
    assert asked == ["/a"] * 3


def test_hostile_heads_do_not_fill_the_memory() -> None:
    heads: Heads[RequestHead] = Heads(partial(parse_request, lambda _, __: True), Account(1 << 30, 1000))
    floods = (
        (1100, lambda i: b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, b"ab:c\r\n" * 80)),
        (100, lambda i: b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, b"ab:c\r\n" * 2600)),
        (1100, lambda i: b"GET /%s%d HTTP/1.1\r\n\r\n" % (b"x" * 15_000, i)),
        (300, lambda i: b"GET /%s%d HTTP/1.1\r\n\r\n" % (b"x" * 60_000, i)),
    )
    tracemalloc.start()
    try:
        for n, flood in floods:
            for i in range(n):
                for _ in range(2):
                    assert heads.read(flood(i)) is not None
            assert tracemalloc.get_traced_memory()[0] < 8e6
    finally:
        tracemalloc.stop()

"""Heads that were read are remembered within bounds."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from exporter.http.http1.heads import Heads
from exporter.http.http1.recent import Recent
from tests.http.conversations import GET, OK


@given(
    st.integers(1, 4),
    st.sampled_from([16, 40, 100]),
    st.lists(st.binary(min_size=1, max_size=8), max_size=60),
)
def test_what_is_remembered_is_right_and_bounded(max_items: int, max_bytes: int, keys: list[bytes]) -> None:
    recent: Recent[str] = Recent(max_items, max_bytes)
    same = recent.known
    came: set[bytes] = set()
    for key in keys:
        found = recent.known.get(key)
        assert found in (None, key.hex())
        if found is None:
            recent.add(key, key.hex())
            if key not in came or len(key) > max_bytes // 16:
                assert key not in recent.known
        came.add(key)
        assert len(recent.known) <= max_items
        assert sum(map(len, recent.known)) <= max_bytes
        assert len(recent._came) <= 8 * max_items
    assert recent.known is same
    recent.clear()
    assert not recent.known


def test_what_comes_once_pushes_nothing_out() -> None:
    recent: Recent[int] = Recent(8, 1000)
    for _ in range(2):
        recent.add(b"used", 1)
    for i in range(1000):
        recent.add(b"%d" % i, i)
    assert recent.known == {b"used": 1}


def test_what_is_used_returns() -> None:
    recent: Recent[int] = Recent(8, 1000)
    for i in range(100):
        for key in (b"used", b"%d" % i):
            for _ in range(2):
                if key not in recent.known:
                    recent.add(key, i)
            assert key in recent.known


def test_equal_heads_are_read_twice_and_no_more() -> None:
    asked: list[str] = []
    heads = Heads(lambda _, path: asked.append(path) is None)
    found = [heads.request(bytes(bytearray(GET))) for _ in range(5)]
    answers = [heads.response(bytes(bytearray(OK[:-2]))) for _ in range(5)]
    assert asked == ["/a", "/a"]
    assert len(set(map(id, found[1:]))) == len(set(map(id, answers[1:]))) == 1
    heads.forget()
    heads.request(GET)
    assert asked == ["/a"] * 3


def test_hostile_heads_do_not_fill_the_memory() -> None:
    heads = Heads(lambda _, __: True)
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
                    assert heads.request(flood(i)) is not None
            assert tracemalloc.get_traced_memory()[0] < 20e6
    finally:
        tracemalloc.stop()

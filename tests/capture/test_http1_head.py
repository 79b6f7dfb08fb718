"""Heads that were read are remembered within bounds."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from exporter.capture.http1_head import Heads
from exporter.capture.http1_recent import Recent
from tests.capture.conversations import GET, OK


@given(
    st.integers(1, 4),
    st.sampled_from([16, 40, 100]),
    st.lists(st.binary(min_size=1, max_size=8), max_size=60),
)
def test_what_is_remembered_is_right_and_bounded(max_items: int, max_bytes: int, keys: list[bytes]) -> None:
    recent: Recent[str] = Recent(max_items, max_bytes)
    same = recent.recent
    for key in keys:
        found = recent.get(key)
        assert found in (None, key.hex())
        if found is None:
            recent.add(key, key.hex())
        assert recent.get(key) == (key.hex() if len(key) <= max_bytes // 16 else None)
        for generation in (recent.recent, recent._old):
            assert len(generation) <= max_items
            assert sum(map(len, generation)) <= max_bytes
    assert recent.recent is same
    recent.clear()
    assert not any(recent.get(key) for key in keys)


def test_what_is_used_stays_however_much_else_comes_by() -> None:
    recent: Recent[int] = Recent(8, 1000)
    recent.add(b"used", 1)
    recent.add(b"not", 2)
    for i in range(100):
        recent.add(b"%d" % i, i)
        assert recent.get(b"used") == 1
    assert recent.get(b"not") is None


def test_equal_heads_are_read_once() -> None:
    asked: list[str] = []
    heads = Heads(lambda _, path: asked.append(path) is None)
    assert heads.request(bytes(bytearray(GET))) is heads.request(GET)
    assert heads.response(OK[:-2]) is heads.response(bytes(bytearray(OK[:-2])))
    assert asked == ["/a"]
    heads.forget()
    heads.request(GET)
    assert asked == ["/a", "/a"]


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
                assert heads.request(flood(i)) is not None
            assert tracemalloc.get_traced_memory()[0] < 20e6
    finally:
        tracemalloc.stop()

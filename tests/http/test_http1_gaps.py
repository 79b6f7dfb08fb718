"""Gaps inside chunked bodies: the chunks are lost, the end is found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.http.http1.follower import Http1Follower
from tests.http.conversations import GET, OK, cuts, follow, wanting

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%s\r\n" % (300, b"x" * 300) + b"5\r\nhello\r\n" * 20
END = b"0\r\n\r\n"
UPLOAD = b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def followed(*steps: tuple[str, bytes]) -> tuple[Http1Follower, list[Any]]:
    return follow(*steps, observer=wanting(max_body_bytes=1 << 20))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 540), max_size=8), st.lists(st.booleans(), min_size=9, max_size=9))
def test_the_end_is_found_whatever_is_lost(places: list[int], lost: list[bool]) -> None:
    pieces = list(cuts(CHUNKS + END, places))
    steps = [("down lost" if gone else "down", piece) for piece, gone in zip(pieces, lost, strict=False)]
    # A gap too short to hold the end, right after chunks that were read, hides it until the next answer.
    follower, found = followed(("up", GET), ("down", HEAD), *steps, ("up", GET), ("down", OK))
    if follower.reason is None and len(pieces[-1]) >= TAIL_BYTES:
        assert [e.response_truncated for e in found] == [any(lost[: len(pieces)]), False]
        assert found[0].response_size <= len(CHUNKS + END)
        assert found[1].response_body == b"ok"
        assert follower.state == "IDLE"
    assert follower.reason is None or len(pieces[-1]) < TAIL_BYTES


@pytest.mark.parametrize(
    "steps",
    [
        [("down lost", CHUNKS + END)],
        [("down lost", CHUNKS), ("down", END)],
        [("down lost", CHUNKS + END[:2]), ("down lost", END[2:])],
        [("down lost", CHUNKS[:100]), ("down", CHUNKS[100:] + END)],
        [
            ("down", CHUNKS[:333]),
            ("down lost", CHUNKS[333:400]),
            ("down", CHUNKS[400:] + END[:3]),
            ("down", END[3:]),
        ],
    ],
)
def test_a_gap_and_the_end(steps: list[tuple[str, bytes]]) -> None:
    follower, found = followed(("up", GET), ("down", HEAD), *steps)
    assert (follower.reason, follower.state) == (None, "IDLE")
    assert [(e.response_truncated, e.aborted, e.ended) for e in found] == [(True, False, 1.0 + len(steps))]
    follower.from_client(GET, 9.0)
    follower.from_upstream(OK, 9.0)
    assert found[1].response_body == b"ok"


def test_trailers_are_over_where_the_next_answer_begins() -> None:
    trailers = b"0\r\nX-Sum: 1\r\n\r\n"
    follower, found = followed(
        ("up", GET), ("down", HEAD), ("down lost", CHUNKS), ("down", trailers), ("up", GET), ("down", OK)
    )
    assert follower.reason is None
    assert [e.response_body for e in found] == [b"", b"ok"]


def test_another_answer_in_the_same_piece() -> None:
    follower, found = followed(
        ("up", GET + GET), ("down", HEAD), ("down lost", CHUNKS[:50]), ("down", CHUNKS[50:] + END + OK)
    )
    assert follower.reason is None
    assert [e.response_body for e in found] == [b"", b"ok"]


def test_a_chunked_request_too() -> None:
    follower, found = followed(
        *(("up", UPLOAD), ("up lost", CHUNKS), ("up", CHUNKS), ("up", END), ("down", OK)),
        *(("up", GET), ("down", OK)),
    )
    assert follower.reason is None
    assert [(e.path, e.request_truncated, e.response_body) for e in found] == [
        ("/up", True, b"ok"),
        ("/a", False, b"ok"),
    ]


def test_without_its_last_bytes_a_gap_ends_the_following() -> None:
    follower, found = followed(("up", GET), ("down", HEAD))
    follower.upstream_gap(1000, 2.0)
    assert (follower.reason, found) == ("overrun", [])

"""The byte streams of a connection seen as exchanges, however they are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.http.http1.transactions import MAX_OUTSTANDING
from tests.http.conversations import (
    GET,
    OK,
    SWITCHING,
    UPGRADE,
    K,
    Transaction,
    brief,
    cuts,
    follow,
    held,
    post,
    transactions,
    wanting,
    with_room_for,
)


def test_an_exchange_has_everything_that_was_said() -> None:
    request = b"POST /a%20b?c=d#e HTTP/1.1\r\nHost: x\r\nX-Id: 7\r\nContent-Length: 3\r\n\r\nabc"
    follower, (exchange,) = follow(("up", request), ("down", OK))
    assert (exchange.method, exchange.path, exchange.query) == ("POST", "/a b", b"c=d")
    assert list(exchange.request_headers) == [(b"host", b"x"), (b"x-id", b"7"), (b"content-length", b"3")]
    assert (exchange.status, list(exchange.response_headers)) == (200, [(b"content-length", b"2")])
    assert (exchange.request_body, exchange.response_body) == (b"abc", b"ok")
    assert (exchange.started, exchange.ended, exchange.aborted) == (0.0, 1.0, False)
    assert follower.reason is None
    assert follower.state == "IDLE"


FOLLOWED: dict[str, tuple[bytes, bytes, list[tuple[Any, ...]]]] = {
    "get": (GET, OK, [("GET", "/a", 200, b"", b"ok")]),
    "post": (post(b"xyz"), OK, [("POST", "/p", 200, b"xyz", b"ok")]),
    "chunked both ways": (
        b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000a\r\n0123456789\r\n0\r\n\r\n",
        [("POST", "/p", 200, b"abcde", b"0123456789")],
    ),
    "chunked with trailers, then another": (
        GET + post(b"z"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"
        + OK,
        [("GET", "/a", 200, b"", b"a"), ("POST", "/p", 200, b"z", b"ok")],
    ),
    "pipelining": (GET * 3, OK * 3, [("GET", "/a", 200, b"", b"ok")] * 3),
    "head": (
        b"HEAD /h HTTP/1.1\r\n\r\n" + GET,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + OK,
        [("HEAD", "/h", 200, b"", b""), ("GET", "/a", 200, b"", b"ok")],
    ),
    "head with chunked": (
        b"HEAD /h HTTP/1.1\r\n\r\n" + GET,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + OK,
        [("HEAD", "/h", 200, b"", b""), ("GET", "/a", 200, b"", b"ok")],
    ),
    "204 and 304": (
        GET * 3,
        b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n" + OK,
        [("GET", "/a", 204, b"", b""), ("GET", "/a", 304, b"", b""), ("GET", "/a", 200, b"", b"ok")],
    ),
    "content-length 0": (
        post(b"") + GET,
        b"HTTP/1.1 201 C\r\nContent-Length: 0\r\n\r\n" + OK,
        [("POST", "/p", 201, b"", b""), ("GET", "/a", 200, b"", b"ok")],
    ),
    "100-continue": (
        b"POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
        [("POST", "/p", 200, b"abc", b"ok")],
    ),
    "until the connection ends": (
        GET,
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 is not looked for here\r\n\r\n",
        [("GET", "/a", 200, b"", b"HTTP/1.1 is not looked for here\r\n\r\n")],
    ),
    "http/1.0": (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nx", [("GET", "/", 200, b"", b"x")]),
    "http/1.0 with keep-alive": (
        b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
        OK + OK,
        [("GET", "/1", 200, b"", b"ok"), ("GET", "/2", 200, b"", b"ok")],
    ),
    "nothing counts after connection: close": (
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n\x00 surplus",
        OK,
        [("GET", "/", 200, b"", b"ok")],
    ),
    "an upgrade declined": (
        UPGRADE + GET,
        OK + OK,
        [("GET", "/ws", 200, b"", b"ok"), ("GET", "/a", 200, b"", b"ok")],
    ),
    "connect refused": (
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + GET,
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" + OK,
        [("GET", "/a", 200, b"", b"ok")],  # a tunnel's own request is never wanted
    ),
    "absolute target": (
        b"GET http://h:1/p/q?r HTTP/1.1\r\nHost: h\r\n\r\n",
        OK,
        [("GET", "/p/q", 200, b"", b"ok")],
    ),
    "empty lines between requests": (
        b"\r\n" + GET + b"\r\n\r\n" + GET,
        OK * 2,
        [("GET", "/a", 200, b"", b"ok")] * 2,
    ),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed_whole_and_byte_by_byte(name: str) -> None:
    up, down, expected = FOLLOWED[name]
    whole, found = follow(("up", up), ("down", down), ("down", b""), ("closed", None))
    assert [brief(e) for e in found] == expected
    assert whole.reason is None
    assert not any(e.aborted for e in found)
    steps = [("up", bytes([b])) for b in up] + [("down", bytes([b])) for b in down]
    _, found = follow(*steps, ("down", b""), ("closed", None))
    assert [brief(e) for e in found] == expected


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FOLLOWED)), st.lists(st.integers(0, 500)), st.lists(st.integers(0, 500)))
def test_any_cut_gives_the_same_exchanges(name: str, up_cuts: list[int], down_cuts: list[int]) -> None:
    up, down, expected = FOLLOWED[name]
    steps = [("up", piece) for piece in cuts(up, up_cuts)] + [
        ("down", piece) for piece in cuts(down, down_cuts)
    ]
    follower, found = follow(*steps, ("down", b""), ("closed", None))
    assert [brief(e) for e in found] == expected
    assert follower.reason is None


UNFOLLOWED: dict[str, tuple[bytes, bytes, str]] = {
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"", "tls"),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", b"\x00\x00\x00\x04", "http2"),
    "websocket": (UPGRADE, SWITCHING + b"\x81\x05hello", "upgrade"),
    "websocket with early frames": (UPGRADE + b"\x81\x85abcd", SWITCHING, "upgrade"),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\n\r\n\x16\x03", b"HTTP/1.1 200 OK\r\n\r\n\x16", "upgrade"),
    "binary": (b"\x00\x01\x02", b"", "malformed"),
    "ssh": (b"SSH-2.0-x\r\n\r\n\r\n", b"", "malformed"),
    "lower case": (b"get / HTTP/1.1\r\n\r\n", b"", "malformed"),
    "bad version": (b"GET / HTTP/7.3\r\n\r\n", b"", "malformed"),
    "length and chunked": (
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
        "malformed",
    ),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"", "malformed"),
    "negative length": (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"", "malformed"),
    "chunk size no number": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"",
        "malformed",
    ),
    "chunk size with a sign": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na",
        b"",
        "malformed",
    ),
    "chunk ends without a line end": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"",
        "malformed",
    ),
    "endless chunk extension": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 9000,
        b"",
        "malformed",
    ),
    "endless trailers": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 12_000,
        b"",
        "malformed",
    ),
    "endless head": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, b"", "malformed"),
    "an answer to nobody": (b"", OK, "malformed"),
    "an answer that is none": (GET, b"hello there", "malformed"),
    "more answers than requests": (GET, OK + OK, "malformed"),
    "too many outstanding": (GET * (MAX_OUTSTANDING + 1), b"", "overrun"),
    "too much before a switch": (UPGRADE + b"x" * 100_000, b"", "overrun"),
}


@pytest.mark.parametrize("name", UNFOLLOWED)
def test_what_cannot_be_followed_has_a_reason(name: str) -> None:
    up, down, reason = UNFOLLOWED[name]
    follower, found = follow(("up", up), ("down", down))
    assert follower.reason == reason
    assert follower.state == ("SWITCHED_PROTOCOL" if reason == "upgrade" else "ERROR")
    before = len(found)
    follower.from_client(GET, 9.0)
    follower.from_upstream(OK, 9.0)
    follower.closed(9.0)
    assert len(found) == before


@pytest.mark.parametrize(
    "name", sorted(set(UNFOLLOWED) - {"endless head", "endless trailers", "too much before a switch"})
)
def test_the_reason_does_not_depend_on_the_cut(name: str) -> None:
    up, down, reason = UNFOLLOWED[name]
    steps = [("up", bytes([b])) for b in up] + [("down", bytes([b])) for b in down]
    follower, _ = follow(*steps)
    assert follower.reason == reason


@settings(max_examples=200, deadline=None)
@given(st.lists(transactions(), min_size=1, max_size=5), st.data())
def test_conversations_are_understood_however_cut_and_interleaved(
    conversation: list[Transaction], data: st.DataObject
) -> None:
    places = st.lists(st.integers(0, 2000), max_size=12)
    ups = [list(cuts(one.up, data.draw(places))) for one in conversation]
    downs = [list(cuts(one.down, data.draw(places))) for one in conversation]
    steps: list[tuple[str, Any]] = []
    waiting: list[list[bytes]] = []
    for up, down in zip(ups, downs, strict=True):
        steps += [("up", piece) for piece in up]
        waiting.append(down)
        if data.draw(st.booleans()):  # else pipelined
            steps += [("down", piece) for answer in waiting for piece in answer]
            waiting = []
    steps += [("down", piece) for answer in waiting for piece in answer]
    observer = wanting()
    follower, found = follow(*steps, ("closed", None), observer=observer)
    assert [brief(e) for e in found] == [one.expected for one in conversation]
    assert follower.reason is None
    assert held(observer) == 0


streams = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                *(
                    GET,
                    OK,
                    UPGRADE,
                    SWITCHING,
                    post(b"abc"),
                    post(b"abc")[:-1],
                    b"\r\n",
                    b"0\r\n\r\n",
                    b"HTTP/1.1 ",
                ),
                *(
                    b"\x16\x03",
                    b"Transfer-Encoding: chunked\r\n\r\n",
                    b"POST / HTTP/1.1\r\n",
                    b"5\r\nhello\r\n",
                ),
                b"PRI * HTTP/2.0\r\n\r\n",
            ]
        ),
        max_size=8,
    ).map(b"".join),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["up", "down"]), streams),
            st.tuples(st.sampled_from(["up gap", "down gap"]), st.integers(0, 100)),
        ),
        max_size=12,
    ),
    st.booleans(),
    st.sampled_from([300, 2_000, 10_000]),
)
def test_nothing_raises_and_nothing_is_kept(
    steps: list[tuple[str, Any]], wanted: bool, max_kept_bytes: int
) -> None:
    observer = wanting(wanted, max_kept_bytes=max_kept_bytes)
    follower, _ = follow(*steps, ("closed", None), observer=observer)
    assert held(observer) == 0
    assert follower.state in ("IDLE", "MUST_CLOSE", "SWITCHED_PROTOCOL", "ERROR")


def test_an_unwanted_exchange_is_counted_and_not_kept() -> None:
    observer = wanting(False)
    _, (seen,) = follow(("up", post(b"x" * 500)), ("down", OK), observer=observer)
    assert not observer.exchanges
    assert (seen.method, seen.path, seen.status) == ("POST", "/p", 200)
    assert (seen.request_size, seen.response_size, seen.started, seen.ended) == (500, 2, 0.0, 1.0)


def test_a_body_beyond_the_bound_is_counted_and_not_kept() -> None:
    _, (exchange,) = follow(("up", post(b"x" * 2000)), ("down", OK), observer=wanting(max_body_bytes=1999))
    assert exchange.request_truncated
    assert (exchange.request_body, exchange.request_size) == (b"", 2000)
    assert exchange.response_body == b"ok"


def test_all_connections_share_one_bound() -> None:
    observer = with_room_for(10 * K)
    follow(("up", post(b"x" * 9 * K)), observer=observer)
    assert 9 * K <= held(observer) < 9.5 * K
    _, (exchange,) = follow(("up", post(b"y" * 2 * K)), ("down", OK), observer=observer)
    assert exchange.request_truncated
    assert exchange.request_size == 2 * K


def test_pipelined_bodies_of_one_connection_are_bounded() -> None:
    observer = wanting(max_body_bytes=100)
    _, found = follow(("up", post(b"x" * 100) * 10), ("down", OK * 10), observer=observer)
    assert [e.request_truncated for e in found] == [False] * 4 + [True] * 6


def test_bytes_missing_inside_a_body_are_counted() -> None:
    start = b"POST /p HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + b"x" * 10
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n"
    follower, (exchange,) = follow(
        *(("up", start), ("up gap", 80), ("up", b"x" * 10)),
        *(("down", answer), ("down gap", 99), ("down", b"y\r\n0\r\n\r\n")),
        observer=wanting(),
    )
    assert (exchange.request_size, exchange.response_size) == (100, 100)
    assert exchange.request_truncated
    assert exchange.response_truncated
    assert follower.reason is None


def test_a_gap_may_reach_exactly_to_the_end_of_a_body_of_known_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    follower, (exchange,) = follow(
        *(
            ("up", post(b"x" * 100)[:-90]),
            ("up gap", 90),
            ("down", head + b"y"),
            ("down gap", 99),
            ("up", GET),
        )
    )
    assert (exchange.request_size, exchange.response_size, exchange.ended) == (100, 100, 3.0)
    assert follower.state == "DONE"


@pytest.mark.parametrize(
    "steps",
    [
        [("up gap", 10)],
        [("up", GET), ("down gap", 10)],
        [("up", post(b"abc")[:-1]), ("up gap", 2)],
        [("up", GET), ("down", OK[:-1]), ("down gap", 2)],
        [("up", GET), ("down", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), ("down gap", 1)],
    ],
)
def test_bytes_missing_elsewhere_end_the_following(steps: list[tuple[str, Any]]) -> None:
    follower, _ = follow(*steps)
    assert follower.reason == "overrun"


BROKEN_OFF: dict[str, list[tuple[str, Any]]] = {
    "before the response": [("up", GET)],
    "in the request": [("up", post(b"abc")[:-1])],
    "in the response": [("up", GET), ("down", OK[:-1])],
    "in its head": [("up", GET), ("down", OK[:9])],
    "in chunks": [("up", GET), ("down", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")],
}
ENDINGS: dict[str, tuple[list[tuple[str, Any]], int, int]] = {
    "reset": ([("closed", None)], 502, 0),
    "the upstream ends": ([("down", b""), ("up", b""), ("closed", None)], 502, 1),
    "the client ends first": ([("up", b""), ("down", b""), ("closed", None)], 499, 0),
    "the client breaks it off": ([("client left", None)], 499, 0),
}


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", BROKEN_OFF)
def test_what_broke_off_is_no_success_and_says_through_whom(name: str, ending: str, wanted: bool) -> None:
    steps, status, cut_off = ENDINGS[ending]
    observer = wanting(wanted)
    _, (seen,) = follow(*BROKEN_OFF[name], *steps, observer=observer)
    assert observer.exchanges == []
    assert (seen.status, observer.cut_off, held(observer)) == (status, cut_off, 0)
    assert seen.ended == len(BROKEN_OFF[name]) + (1 if ending == "the client ends first" else 0)


def test_a_body_until_the_end_of_the_connection_is_complete_only_with_an_orderly_end() -> None:
    steps = [("up", GET), ("down", b"HTTP/1.1 200 OK\r\n\r\nabc")]
    observer = wanting()
    _, (exchange,) = follow(*steps, ("down", b""), ("closed", None), observer=observer)
    assert (exchange.status, exchange.response_body, observer.cut_off) == (200, b"abc", 0)
    _, (seen,) = follow(*steps, ("closed", None))
    assert seen.status == 502


def test_an_upstream_that_ends_between_exchanges_has_cut_nothing_off() -> None:
    observer = wanting()
    _, found = follow(
        ("up", GET), ("down", OK), ("down", b""), ("up", b""), ("closed", None), observer=observer
    )
    assert [e.status for e in found] == [200]
    assert (observer.cut_off, observer.summaries) == (0, [])


def test_what_is_sent_to_an_upstream_that_has_ended_is_passed_over() -> None:
    observer = wanting()
    upload = post(b"x" * 900)
    steps = [("up", upload[:-500]), ("down", b""), ("up", upload[-500:]), ("up", GET), ("closed", None)]
    _, (seen,) = follow(*steps, observer=observer)
    assert (seen.status, seen.request_size, seen.ended, held(observer)) == (502, 400, 1.0, 0)


def test_an_answer_before_the_request_is_complete_is_complete() -> None:
    steps = [("up", post(b"abc")[:-1]), ("down", OK)]
    _, found = follow(*steps)
    assert found == []
    _, (exchange,) = follow(*steps, ("up", b"c"))
    assert (exchange.request_body, exchange.ended, exchange.aborted) == (b"abc", 1.0, False)
    _, (exchange,) = follow(*steps, ("closed", None))
    assert (exchange.status, exchange.aborted) == (200, False)


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([], "IDLE"),
        ([("up", GET[:5])], "SEND_BODY"),
        ([("up", post(b"abc")[:-1])], "SEND_BODY"),
        ([("up", GET)], "DONE"),
        ([("up", GET), ("down", OK[:-1])], "DONE"),
        ([("up", GET), ("down", OK)], "IDLE"),
        ([("up", b"GET / HTTP/1.0\r\n\r\n"), ("down", OK)], "MUST_CLOSE"),
        ([("up", b"\x00")], "ERROR"),
        ([("up", UPGRADE), ("down", SWITCHING)], "SWITCHED_PROTOCOL"),
    ],
)
def test_states(steps: list[tuple[str, Any]], state: str) -> None:
    follower, _ = follow(*steps)
    assert follower.state == state

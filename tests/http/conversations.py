"""Messages of HTTP/1, whole and cut, and a follower fed with them."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.http.http1.follower import Http1Follower
from exporter.http.http1.transactions import Observer

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def post(body: bytes, path: bytes = b"/p") -> bytes:
    return b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def wanting(wanted: bool = True, *, max_body_bytes: int = 1000, max_kept_bytes: int = 1 << 20) -> Observer:
    return Observer(lambda _m, _p: wanted, max_body_bytes=max_body_bytes, max_kept_bytes=max_kept_bytes)


K = 10_000
"""A body that is long beside what the heads in these tests cost."""


def with_room_for(n_bytes: int) -> Observer:
    """An observer that has room for so many bytes of bodies, and for a few heads beside them."""
    return wanting(max_body_bytes=1 << 20, max_kept_bytes=(n_bytes + K // 2) * 4 // 3)


def held(observer: Observer) -> int:
    """Bytes of what is under way: all that is on the account but for the heads that are remembered."""
    remembered = sum(
        head.cost for heads in (observer.requests, observer.responses) for head in heads.known.values()
    )
    return observer.account.n_bytes - remembered


class Counted(NamedTuple):
    """The fields of :data:`~exporter.http.http1.transactions.ExchangeSummary`, by name."""

    method: str
    path: str
    status: int
    started: float
    ended: float
    request_size: int
    response_size: int


def follow(*steps: tuple[str, Any], observer: Observer | None = None) -> tuple[Http1Follower, list[Any]]:
    """Feed what happened on a connection, a second apart, and give what was seen.

    Steps are ("up" | "down", bytes), ("up gap" | "down gap", n), ("up lost" | "down lost", bytes) for a gap
    of which the last bytes are known, and ("closed" | "client left", None).
    """
    observer = observer or wanting()
    follower = Http1Follower(observer)
    for at, (what, data) in enumerate(steps):
        if what == "up":
            follower.from_client(data, float(at))
        elif what == "down":
            follower.from_upstream(data, float(at))
        elif what == "up gap":
            follower.client_gap(data)
        elif what == "down gap":
            follower.upstream_gap(data, float(at))
        elif what == "up lost":
            follower.client_gap(len(data), data[-TAIL_BYTES:])
        elif what == "down lost":
            follower.upstream_gap(len(data), float(at), data[-TAIL_BYTES:])
        else:
            follower.closed(float(at), client_left=what == "client left")
    return follower, found(observer)


def found(observer: Observer) -> list[Any]:
    """The exchanges that were seen; if none of them was wanted, what was counted of them."""
    return observer.exchanges or [Counted(*summary) for summary in observer.summaries]


def brief(exchange: Any) -> tuple[Any, ...]:
    return (exchange.method, exchange.path, exchange.status, exchange.request_body, exchange.response_body)


def cuts(data: bytes, places: list[int]) -> Iterator[bytes]:
    last = 0
    for place in [*sorted({p % (len(data) + 1) for p in places}), len(data)]:
        if place > last:
            yield data[last:place]
            last = place


token = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8).map(str.encode)


@dataclass
class Transaction:
    up: bytes
    down: bytes
    expected: tuple[Any, ...]


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    """An exchange with a known meaning."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE"]))
    path = b"/" + draw(token)
    headers = b"".join(
        b"%s: %s\r\n" % (b"X-" + name, value)
        for name, value in draw(st.lists(st.tuples(token, token), max_size=3))
    )
    asked, up_head, up_body = _framed(draw, draw(st.binary(max_size=40)))
    said, down_head, down_body = _framed(draw, draw(st.binary(max_size=40)))
    status = draw(st.sampled_from([200, 201, 204, 304, 404, 500]))
    bodyless = method == "HEAD" or status in (204, 304)
    continued = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    return Transaction(
        up=b"%s %s HTTP/1.1\r\n%s%s\r\n%s" % (method.encode(), path, headers, up_head, up_body),
        down=b"%sHTTP/1.1 %d X\r\n%s%s\r\n%s"
        % (continued, status, headers, down_head, b"" if bodyless else down_body),
        expected=(method, path.decode(), status, asked, b"" if bodyless else said),
    )


def _framed(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes, bytes]:
    if draw(st.booleans()):
        return body, b"Content-Length: %d\r\n" % len(body), body
    pieces = list(cuts(body, draw(st.lists(st.integers(0, 40), max_size=4))))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    trailers = draw(st.sampled_from([b"", b"X-T: 1\r\n"]))
    return body, b"Transfer-Encoding: chunked\r\n", b"%s0\r\n%s\r\n" % (chunks, trailers)

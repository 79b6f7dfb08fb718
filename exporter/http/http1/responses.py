"""The upstream's side of an HTTP/1 connection: answers, in the order of the requests."""

from __future__ import annotations

from exporter.http.http1.bodies import Body, ChunkedBody, LengthBody, UntilCloseBody
from exporter.http.http1.heads import CHUNKED, MAX_HEAD_BYTES, UNTIL_CLOSE, Heads
from exporter.http.http1.reasons import NotFollowedError
from exporter.http.http1.requests import Requests
from exporter.http.http1.transactions import Turns


class Answers:
    """Reads what the upstream sent, cut anywhere, and completes turns with it.

    Its methods raise :class:`NotFollowedError` where that ends.
    """

    __slots__ = ("_body", "_head", "_heads", "_requests", "_turns")

    def __init__(self, heads: Heads, turns: Turns, requests: Requests) -> None:
        self._heads = heads
        self._turns = turns
        self._requests = requests
        self._body: Body | None = None
        self._head = b""

    def read(self, data: bytes, at: float) -> None:
        """Bytes that passed at ``at``."""
        position, end = 0, len(data)
        while position < end:
            body = self._body
            if body is not None:
                position = body.feed(data, position, self._turns.response_piece)
                if body.done:
                    self._answered(at)
                continue
            if self._head:
                data = self._head + data[position:]
                self._head = b""
                position, end = 0, len(data)
            stop = data.find(b"\r\n\r\n", position)
            if stop < 0:
                self._head = data[position:] if position else data
                if (
                    len(self._head) > MAX_HEAD_BYTES
                    or not self._turns.waiting
                    or not b"HTTP/".startswith(self._head[:5])
                ):
                    raise NotFollowedError("malformed")
                return
            position = self._take(data, position, stop + 4, at)

    def go_on(self, missing: int) -> None:
        """Go on in the body of an answer of which ``missing`` > 0 bytes are to come."""
        self._body = LengthBody(missing)

    def end(self, at: float) -> None:
        """The upstream ended at ``at``."""
        if isinstance(self._body, UntilCloseBody):
            self._answered(at)

    def skip(self, n_bytes: int, at: float, tail: bytes) -> None:
        """Bytes passed at ``at`` that were not kept, but for the last few."""
        body = self._body
        if body is None or not body.skip(n_bytes, tail):
            raise NotFollowedError("overrun")
        self._turns.waiting[0].exchange.response_gap(n_bytes)
        if body.done:
            self._answered(at)

    def forget(self) -> None:
        """Let go of what is incomplete."""
        self._body = None
        self._head = b""

    def _take(self, data: bytes, start: int, stop: int, at: float) -> int:
        """Begin an answer with the head ``data[start:stop]``; return where its body's rest begins."""
        head = self._heads.response(data[start:stop])
        if head is None or not self._turns.waiting:
            raise NotFollowedError("malformed")
        turn = self._turns.waiting[0]
        method, status, length = turn.head.method, head.status, head.length
        if status < 200 and status != 101:
            return stop
        turn.exchange.response_start(status, head.headers)
        if status == 101 or (method == "CONNECT" and status < 300):
            self._turns.switched(at)
            raise NotFollowedError("upgrade")
        if method == "HEAD" or status in (204, 304):
            length = 0
        if 0 <= length <= len(data) - stop:
            if length:
                self._turns.response_piece(data[stop : stop + length])
            self._answered(at)
            return stop + length
        if length == UNTIL_CLOSE:
            self._body = UntilCloseBody()
        else:
            self._body = ChunkedBody() if length == CHUNKED else LengthBody(length)
        return stop

    def _answered(self, at: float) -> None:
        self._body = None
        if self._turns.answered(at).head.may_switch:
            self._requests.declined()

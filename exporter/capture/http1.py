"""A connection's two byte streams seen as HTTP/1 exchanges. It looks, it never alters.

Sans-IO: whoever has the bytes feeds them in, cut anywhere, in the order in which they passed. What
cannot be followed gives the connection a :attr:`Http1Follower.kind`; its bytes are ignored from then on.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from exporter.capture.exchange import Exchange, Headers
from exporter.capture.http1_body import Body, ChunkedBody, LengthBody, NotHttp1Error, UntilCloseBody
from exporter.capture.http1_head import CHUNKED, MAX_HEAD_BYTES, UNTIL_CLOSE, Heads, RequestHead, Select
from exporter.capture.plane.tap import Phase

Kind = Literal["tls", "http2", "upgrade", "malformed", "overrun", "failed"]
KINDS: tuple[Kind, ...] = ("tls", "http2", "upgrade", "malformed", "overrun", "failed")
"""Why a connection is no longer followed: it begins as TLS or HTTP/2 does, it switched protocols
(WebSocket, CONNECT), its bytes are not HTTP/1, more was under way than may be kept, or a fault of ours."""

MAX_OUTSTANDING = 256
"""Pipelined requests of one connection that wait for their answers."""
MAX_OUTSTANDING_HEAD_BYTES = 1024 * 1024
_MAX_AHEAD_BYTES = 64 * 1024
_BODIES_PER_CONNECTION = 4
_TLS_HANDSHAKE = 0x16


class Passed:
    """An exchange whose headers and bodies were not wanted: what metrics of HTTP need, no more."""

    __slots__ = ("aborted", "ended", "method", "path", "request_size", "response_size", "started", "status")

    request_truncated = True
    response_truncated = True

    def __init__(self, method: str, path: str, started: float) -> None:
        self.method = method
        self.path = path
        self.started = started
        self.ended = started
        self.status = 0
        self.request_size = 0
        self.response_size = 0
        self.aborted = False

    def request_chunk(self, data: bytes) -> None:
        """Count a piece of the request's body."""
        self.request_size += len(data)

    def request_gap(self, n_bytes: int) -> None:
        """Count bytes of the request's body that passed unseen."""
        self.request_size += n_bytes

    def response_start(self, status: int, _headers: Headers) -> None:
        """Note the answer's status."""
        self.status = status

    def response_chunk(self, data: bytes) -> None:
        """Count a piece of the answer's body."""
        self.response_size += len(data)

    def response_gap(self, n_bytes: int) -> None:
        """Count bytes of the answer's body that passed unseen."""
        self.response_size += n_bytes

    def finish(self, ended: float, *, aborted: bool = False) -> None:
        """Note when the last byte was seen, and whether the exchange broke off before its end."""
        self.ended = ended
        self.aborted = aborted


class Observer:
    """What the followers of one thread share: parsed heads, results, and the bound on kept bytes.

    Parameters
    ----------
    select
        (method, path) to whether headers and bodies are wanted.
    max_body_bytes
        Of one body; a longer one is counted and not kept.
    max_kept_bytes
        Of the bodies of all exchanges under way; beyond it further ones are not kept.

    Attributes
    ----------
    exchanges, passed
        Completed exchanges, wanted and not, in order of completion; the owner takes them away.
    """

    def __init__(self, select: Select, *, max_body_bytes: int, max_kept_bytes: int) -> None:
        self.heads = Heads(select)
        self.max_body_bytes = max_body_bytes
        self.max_kept_bytes = max_kept_bytes
        self.kept_bytes = 0
        self.exchanges: list[Exchange] = []
        self.passed: list[Passed] = []


class _Turn:
    """A request and, in time, its answer."""

    __slots__ = ("answered", "asked", "exchange", "head", "kept")

    def __init__(self, head: RequestHead, exchange: Exchange | Passed) -> None:
        self.head = head
        self.exchange = exchange
        self.asked = False
        self.answered = False
        self.kept = 0


class Http1Follower:
    """Follows one connection. No method raises, whatever the bytes are."""

    __slots__ = (
        "_ahead",
        "_answer_body",
        "_answer_head",
        "_ask_body",
        "_ask_head",
        "_asking",
        "_head_bytes",
        "_head_started",
        "_kept",
        "_last_asked",
        "_observer",
        "_turns",
        "kind",
    )

    def __init__(self, observer: Observer) -> None:
        self.kind: Kind | None = None
        self._observer = observer
        self._turns: deque[_Turn] = deque()
        self._asking: _Turn | None = None  # whose request body is being read
        self._ask_body: Body | None = None
        self._ask_head = b""
        self._head_started = 0.0
        self._last_asked = False
        self._ahead: list[tuple[bytes, float]] | None = None  # bytes after a request that may switch
        self._answer_body: Body | None = None
        self._answer_head = b""
        self._head_bytes = 0
        self._kept = 0

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        if self.kind is not None:
            return "unfollowed"
        if self._asking is not None or self._ask_head:
            return "asking"
        return "answering" if self._turns else "idle"

    # Feeding.

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client that passed at ``at`` (seconds since the epoch); ``b""`` for its end."""
        if self.kind is not None or not data:
            return
        if self._ahead is not None:
            self._keep_ahead(data, at)
            return
        try:
            self._read_requests(data, at)
        except NotHttp1Error:
            self._stop("malformed")

    def from_upstream(self, data: bytes, at: float) -> None:
        """Bytes of the upstream that passed at ``at``; ``b""`` for its end."""
        if self.kind is not None:
            return
        if not data:
            if isinstance(self._answer_body, UntilCloseBody):
                self._answered(at)
            return
        try:
            self._read_answers(data, at)
        except NotHttp1Error:
            self._stop("malformed")

    def client_gap(self, n_bytes: int) -> None:
        """Bytes of the client passed that were not kept."""
        if self.kind is None:
            turn, body = self._asking, self._ask_body
            if turn is not None and body is not None and body.skip(n_bytes):
                turn.exchange.request_gap(n_bytes)
                if body.done:
                    self._asked(turn)
            else:
                self._stop("overrun")

    def upstream_gap(self, n_bytes: int, at: float) -> None:
        """Bytes of the upstream passed at ``at`` that were not kept."""
        if self.kind is None:
            body = self._answer_body
            if self._turns and body is not None and body.skip(n_bytes):
                self._turns[0].exchange.response_gap(n_bytes)
                if body.done:
                    self._answered(at)
            else:
                self._stop("overrun")

    def give_up(self, kind: Kind) -> None:
        """Follow no longer, if it still was followed."""
        if self.kind is None:
            self._stop(kind)

    def closed(self, at: float) -> None:
        """The connection is gone at ``at``: what is incomplete is over, and marked as aborted."""
        if self.kind is None:
            if self._asking is not None and self._asking.answered:
                self._emit(self._asking)
            while self._turns:
                turn = self._turns.popleft()
                turn.exchange.finish(at, aborted=True)
                self._emit(turn)
        self._forget()

    # Requests.

    def _read_requests(self, data: bytes, at: float) -> None:
        position, end = 0, len(data)
        while position < end:
            turn, body = self._asking, self._ask_body
            if turn is not None and body is not None:
                position = body.feed(data, position, self._request_piece)
                if body.done:
                    self._asked(turn)
                continue
            if self._last_asked:
                return
            if self._ahead is not None:
                self._keep_ahead(data[position:], at)
                return
            if self._ask_head:
                data = self._ask_head + data[position:]
                self._ask_head = b""
                position, end = 0, len(data)
            else:
                while position < end and data[position] in b"\r\n":  # RFC 9112, section 2.2
                    position += 1
                if position == end:
                    return
                self._head_started = at
            stop = data.find(b"\r\n\r\n", position)
            if stop < 0:
                self._ask_head = data[position:] if position else data
                self._refuse_hopeless(self._ask_head)
                return
            position = self._take_request(data, position, stop + 4)
            if self.kind is not None:
                return

    def _take_request(self, data: bytes, start: int, stop: int) -> int:
        """Begin an exchange with the head ``data[start:stop]``; return where its body's rest begins."""
        text = data[start:stop] if start or stop < len(data) else data
        head = self._observer.heads.request(text)
        if head is None:
            self._refuse(text)
            return stop
        if len(self._turns) >= MAX_OUTSTANDING or self._head_bytes > MAX_OUTSTANDING_HEAD_BYTES:
            self._stop("overrun")
            return stop
        started = self._head_started
        exchange: Exchange | Passed
        if head.wanted:
            exchange = Exchange(
                head.method,
                head.path,
                head.query,
                head.headers,
                max_body_bytes=self._observer.max_body_bytes,
                started=started,
            )
        else:
            exchange = Passed(head.method, head.path, started)
        turn = _Turn(head, exchange)
        self._turns.append(turn)
        self._head_bytes += head.size
        length = head.length
        if length == 0:
            self._asked(turn)
            return stop
        if 0 < length <= len(data) - stop:
            # The common case, a body that came with its head, needs no reader.
            self._asking = turn
            self._request_piece(data[stop : stop + length])
            self._asked(turn)
            return stop + length
        self._asking = turn
        self._ask_body = ChunkedBody() if length == CHUNKED else LengthBody(length)
        return stop

    def _asked(self, turn: _Turn) -> None:
        """The request is complete."""
        turn.asked = True
        self._asking = None
        self._ask_body = None
        self._last_asked = turn.head.last and not turn.head.may_switch
        if turn.answered:
            self._emit(turn)
        elif turn.head.may_switch:
            self._ahead = []

    def _keep_ahead(self, data: bytes, at: float) -> None:
        """Keep bytes whose meaning depends on the answer to a request to switch protocols."""
        if self._ahead is None:
            self._ahead = []
        self._ahead.append((data, at))
        if sum(len(piece) for piece, _ in self._ahead) > _MAX_AHEAD_BYTES:
            self._stop("overrun")

    # Answers.

    def _read_answers(self, data: bytes, at: float) -> None:
        position, end = 0, len(data)
        while position < end:
            body = self._answer_body
            if body is not None:
                position = body.feed(data, position, self._response_piece)
                if body.done:
                    self._answered(at)
                continue
            if self._answer_head:
                data = self._answer_head + data[position:]
                self._answer_head = b""
                position, end = 0, len(data)
            stop = data.find(b"\r\n\r\n", position)
            if stop < 0:
                self._answer_head = data[position:] if position else data
                if len(self._answer_head) > MAX_HEAD_BYTES or not self._turns:
                    raise NotHttp1Error
                if not b"HTTP/".startswith(self._answer_head[:5]):
                    raise NotHttp1Error
                return
            position = self._take_answer(data, position, stop + 4, at)
            if self.kind is not None:
                return

    def _take_answer(self, data: bytes, start: int, stop: int, at: float) -> int:
        head = self._observer.heads.response(data[start:stop] if start or stop < len(data) else data)
        if head is None or not self._turns:
            raise NotHttp1Error
        turn = self._turns[0]
        asked_for = turn.head
        if head.status < 200 and head.status != 101:
            return stop
        turn.exchange.response_start(head.status, head.headers)
        if head.status == 101 or (asked_for.method == "CONNECT" and head.status < 300):
            self._turns.popleft()
            turn.exchange.finish(at)
            self._emit(turn)
            self._stop("upgrade")
            return stop
        length = head.length
        if length == 0 or asked_for.method == "HEAD" or head.status in (204, 304):
            self._answered(at)
            return stop
        if 0 < length <= len(data) - stop:
            self._response_piece(data[stop : stop + length])
            self._answered(at)
            return stop + length
        if length == UNTIL_CLOSE:
            self._answer_body = UntilCloseBody()
        else:
            self._answer_body = ChunkedBody() if length == CHUNKED else LengthBody(length)
        return stop

    def _answered(self, at: float) -> None:
        """The answer to the oldest request is complete."""
        self._answer_body = None
        turn = self._turns.popleft()
        self._head_bytes -= turn.head.size
        turn.answered = True
        turn.exchange.finish(at)
        if turn.asked:
            self._emit(turn)
        if turn.head.may_switch and self._ahead is not None:
            # It did not switch, so what came after the request is more HTTP.
            ahead, self._ahead = self._ahead, None
            for data, when in ahead:
                self.from_client(data, when)

    # Pieces of bodies.

    def _request_piece(self, data: bytes) -> None:
        turn = self._asking
        if turn is not None:
            if turn.exchange.request_truncated or self._room(turn, len(data)):
                turn.exchange.request_chunk(data)
            else:
                turn.exchange.request_gap(len(data))

    def _response_piece(self, data: bytes) -> None:
        turn = self._turns[0]
        if turn.exchange.response_truncated or self._room(turn, len(data)):
            turn.exchange.response_chunk(data)
        else:
            turn.exchange.response_gap(len(data))

    def _room(self, turn: _Turn, n_bytes: int) -> bool:
        """Take ``n_bytes`` of what this connection and all of them together may keep."""
        observer = self._observer
        if (
            observer.kept_bytes + n_bytes > observer.max_kept_bytes
            or self._kept + n_bytes > _BODIES_PER_CONNECTION * observer.max_body_bytes
        ):
            return False
        turn.kept += n_bytes
        self._kept += n_bytes
        observer.kept_bytes += n_bytes
        return True

    # Ends.

    def _emit(self, turn: _Turn) -> None:
        self._observer.kept_bytes -= turn.kept
        self._kept -= turn.kept
        exchange = turn.exchange
        if isinstance(exchange, Exchange):
            self._observer.exchanges.append(exchange)
        else:
            self._observer.passed.append(exchange)

    def _refuse_hopeless(self, start: bytes) -> None:
        """Give up on the start of a head that cannot become one."""
        if start[0] == _TLS_HANDSHAKE:
            if len(start) > 1:
                self._refuse(start)
        elif not 65 <= start[0] <= 90 or len(start) > MAX_HEAD_BYTES:  # methods are capital letters
            self._refuse(start)

    def _refuse(self, start: bytes) -> None:
        if start.startswith(b"\x16\x03"):
            self._stop("tls")
        elif start.startswith(b"PRI * HTTP/2"):
            self._stop("http2")
        else:
            self._stop("malformed")

    def _stop(self, kind: Kind) -> None:
        self.kind = kind
        self._forget()

    def _forget(self) -> None:
        self._observer.kept_bytes -= self._kept
        self._kept = 0
        self._turns.clear()
        self._asking = self._ask_body = self._answer_body = self._ahead = None
        self._ask_head = self._answer_head = b""

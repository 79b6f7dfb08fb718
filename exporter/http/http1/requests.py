"""The client's side of an HTTP/1 connection: requests, one after the other."""

from __future__ import annotations

from exporter.http.http1.bodies import Body, ChunkedBody, LengthBody
from exporter.http.http1.heads import CHUNKED, MAX_HEAD_BYTES, Heads
from exporter.http.http1.reasons import NotFollowedError, is_hopeless, kind_of
from exporter.http.http1.transactions import Turn, Turns

_MAX_AHEAD_BYTES = 64 * 1024


class Requests:
    """Reads what the client sent, cut anywhere, and begins a turn with each request.

    Its methods raise :class:`NotFollowedError` where that ends.

    Attributes
    ----------
    asking
        The turn whose request's body is being read.
    """

    __slots__ = ("_ahead", "_body", "_head", "_heads", "_last_asked", "_started", "_turns", "asking")

    def __init__(self, heads: Heads, turns: Turns) -> None:
        self.asking: Turn | None = None
        self._heads = heads
        self._turns = turns
        self._body: Body | None = None
        self._head = b""
        self._started = 0.0
        self._last_asked = False
        self._ahead: list[tuple[bytes, float]] | None = None  # bytes after a request that may switch

    @property
    def incomplete(self) -> bool:
        """Whether a part of a request is there."""
        return self.asking is not None or bool(self._head)

    @property
    def between(self) -> bool:
        """Whether the next byte begins another request, if all that came before were answered."""
        return not (self.incomplete or self._last_asked)

    def read(self, data: bytes, at: float) -> None:
        """Bytes that passed at ``at``."""
        position, end = 0, len(data)
        while position < end:
            turn, body = self.asking, self._body
            if turn is not None and body is not None:
                position = body.feed(data, position, self._piece)
                if body.done:
                    self._asked(turn)
                continue
            if self._last_asked:
                return
            if self._ahead is not None:
                self._keep_ahead(self._ahead, data[position:], at)
                return
            if self._head:
                data = self._head + data[position:]
                self._head = b""
                position, end = 0, len(data)
            else:
                while position < end and data[position] in b"\r\n":  # RFC 9112, section 2.2
                    position += 1
                if position == end:
                    return
                self._started = at
            stop = data.find(b"\r\n\r\n", position)
            if stop < 0:
                self._head = data[position:] if position else data
                if is_hopeless(self._head, MAX_HEAD_BYTES):
                    raise NotFollowedError(kind_of(self._head))
                return
            position = self._take(data, position, stop + 4)

    def go_on(self, turn: Turn, missing: int) -> None:
        """Go on in the body of a request of which ``missing`` bytes are to come."""
        if missing:
            self.asking = turn
            self._body = LengthBody(missing)
        else:
            self._asked(turn)

    def skip(self, n_bytes: int, tail: bytes) -> None:
        """Bytes passed that were not kept, but for the last few."""
        turn, body = self.asking, self._body
        if turn is None or body is None or not body.skip(n_bytes, tail):
            raise NotFollowedError("overrun")
        turn.exchange.request_gap(n_bytes)
        if body.done:
            self._asked(turn)

    def declined(self) -> None:
        """The connection did not switch to another protocol: what came after the request is HTTP."""
        ahead, self._ahead = self._ahead, None
        for data, at in ahead or ():
            self.read(data, at)

    def forget(self) -> None:
        """Let go of what is incomplete."""
        self.asking = self._body = self._ahead = None
        self._head = b""

    def _take(self, data: bytes, start: int, stop: int) -> int:
        """Begin an exchange with the head ``data[start:stop]``; return where its body's rest begins."""
        text = data[start:stop]
        head = self._heads.request(text)
        if head is None:
            raise NotFollowedError(kind_of(text))
        turn = self._turns.begin(head, self._started)
        length = head.length
        if 0 <= length <= len(data) - stop:
            # The common case, a body that came with its head, needs no reader.
            if length:
                self._turns.request_piece(turn, data[stop : stop + length])
            self._asked(turn)
            return stop + length
        self.asking = turn
        self._body = ChunkedBody() if length == CHUNKED else LengthBody(length)
        return stop

    def _piece(self, data: bytes) -> None:
        if self.asking is not None:
            self._turns.request_piece(self.asking, data)

    def _asked(self, turn: Turn) -> None:
        self.asking = None
        self._body = None
        self._last_asked = turn.head.last and not turn.head.may_switch
        if turn.head.may_switch and not turn.answered:
            self._ahead = []
        self._turns.asked(turn)

    def _keep_ahead(self, ahead: list[tuple[bytes, float]], data: bytes, at: float) -> None:
        """Keep bytes whose meaning depends on the answer to a request to switch protocols."""
        ahead.append((data, at))
        if sum(len(piece) for piece, _ in ahead) > _MAX_AHEAD_BYTES:
            raise NotFollowedError("overrun")

"""The messages of the two directions of an HTTP/1 connection: requests, and responses in their order."""

from __future__ import annotations

from exporter.http.http1.bodies import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from exporter.http.http1.heads import CHUNKED, MAX_HEAD_BYTES, UNTIL_CLOSE, Heads, IncompleteHead
from exporter.http.http1.states import NotFollowedError, is_hopeless, reason_for
from exporter.http.http1.transactions import Transaction, Transactions

_MAX_AHEAD_BYTES = 64 * 1024
_PIECE_BYTES = 128  # what a piece that waits costs besides its bytes


class _Side:
    """What both directions have in common: a head that is incomplete, and a body under way."""

    __slots__ = ("_body", "_head", "_heads", "_transactions")

    def __init__(self, heads: Heads, transactions: Transactions) -> None:
        self._heads = heads
        self._transactions = transactions
        self._body: BodyReader | None = None
        self._head = IncompleteHead()

    @property
    def held(self) -> int:
        """Bytes of what is incomplete, but for bodies."""
        return len(self._head.start) + (self._body.held if self._body is not None else 0)

    def forget(self) -> None:
        """Let go of what is incomplete."""
        self._body = None
        self._head.start = bytearray()


class Requests(_Side):
    """Reads what the client sent, cut anywhere, and begins a transaction with each request.

    Its methods raise :class:`NotFollowedError` where that ends.

    Attributes
    ----------
    current
        The transaction whose request's body is being read.
    must_close
        No other request comes after the last one.
    """

    __slots__ = ("_ahead", "_ahead_bytes", "_started", "current", "must_close")

    def __init__(self, heads: Heads, transactions: Transactions) -> None:
        super().__init__(heads, transactions)
        self.current: Transaction | None = None
        self.must_close = False
        self._started = 0.0
        self._ahead: list[tuple[bytes, float]] | None = None  # pieces after a request that may switch
        self._ahead_bytes = 0

    @property
    def incomplete(self) -> bool:
        """Whether a part of a request is there."""
        return self.current is not None or bool(self._head.start)

    @property
    def held(self) -> int:
        return super().held + self._ahead_bytes

    def read(self, data: bytes, at: float) -> None:
        """Bytes, seen at ``at``."""
        position, end = 0, len(data)
        while position < end:
            transaction, body = self.current, self._body
            if transaction is not None and body is not None:
                position = body.feed(data, position, self._add)
                if body.done:
                    self._requested(transaction)
                continue
            if self.must_close:
                return
            if self._ahead is not None:
                self._keep_ahead(self._ahead, data[position:], at)
                return
            if not self._head.start:
                while position < end and data[position] in b"\r\n":  # RFC 9112, section 2.2
                    position += 1
                if position == end:
                    return
                self._started = at
            text, position = self._head.feed(data, position)
            if text is None:
                if is_hopeless(self._head.start, MAX_HEAD_BYTES):
                    raise NotFollowedError(reason_for(self._head.start))
                return
            position = self._begin(text, data, position)

    def go_on(self, transaction: Transaction, missing: int) -> None:
        """Go on in the body of a request of which ``missing`` bytes are to come."""
        if missing:
            self.current = transaction
            self._body = LengthBody(missing)
        else:
            self._requested(transaction)

    def skip(self, n_bytes: int, tail: bytes) -> None:
        """Bytes that were not kept, but for the last few."""
        transaction, body = self.current, self._body
        if transaction is None or body is None or not body.skip(n_bytes, tail):
            raise NotFollowedError("overrun")
        self._transactions.add_gap(transaction.request, n_bytes)
        if body.done:
            self._requested(transaction)

    def declined(self) -> None:
        """The connection did not switch to another protocol: what came after the request is HTTP."""
        ahead, self._ahead, self._ahead_bytes = self._ahead, None, 0
        for data, at in ahead or ():
            self.read(data, at)

    def end(self) -> None:
        """Nobody takes requests any more: what comes is ignored."""
        self.forget()
        self.must_close = True

    def forget(self) -> None:
        super().forget()
        self.current = self._ahead = None
        self._ahead_bytes = 0

    def _begin(self, text: bytes, data: bytes, start: int) -> int:
        """Begin a transaction with a head; return where the rest of its body begins in ``data``."""
        head = self._heads.request(text)
        if head is None:
            raise NotFollowedError(reason_for(text))
        transaction = self._transactions.begin(head, self._started)
        length = head.length
        if 0 <= length <= len(data) - start:
            # The common case, a body that came with its head, needs no reader.
            if length:
                self._transactions.add(transaction.request, data[start : start + length])
            self._requested(transaction)
            return start + length
        self.current = transaction
        self._body = ChunkedBody() if length == CHUNKED else LengthBody(length)
        return start

    def _add(self, data: bytes) -> None:
        if self.current is not None:
            self._transactions.add(self.current.request, data)

    def _requested(self, transaction: Transaction) -> None:
        self.current = self._body = None
        head = transaction.head
        self.must_close = head.last and not head.may_switch
        if head.may_switch and transaction.ended is None:
            self._ahead = []
        self._transactions.requested(transaction)

    def _keep_ahead(self, ahead: list[tuple[bytes, float]], data: bytes, at: float) -> None:
        """Keep bytes whose meaning depends on the response to a request to switch protocols."""
        ahead.append((data, at))
        self._ahead_bytes += len(data) + _PIECE_BYTES
        if self._ahead_bytes > _MAX_AHEAD_BYTES:
            raise NotFollowedError("overrun")


class Responses(_Side):
    """Reads what the upstream sent, cut anywhere, and completes transactions with it.

    Its methods raise :class:`NotFollowedError` where that ends.
    """

    __slots__ = ("_requests",)

    def __init__(self, heads: Heads, transactions: Transactions, requests: Requests) -> None:
        super().__init__(heads, transactions)
        self._requests = requests

    def read(self, data: bytes, at: float) -> None:
        """Bytes, seen at ``at``."""
        position, end = 0, len(data)
        while position < end:
            body = self._body
            if body is not None:
                position = body.feed(data, position, self._add)
                if body.done:
                    self._responded(at)
                continue
            text, position = self._head.feed(data, position)
            if text is None:
                start = self._head.start
                if (
                    len(start) > MAX_HEAD_BYTES
                    or not self._transactions.waiting
                    or not b"HTTP/".startswith(start[:5])
                ):
                    raise NotFollowedError("malformed")
                return
            position = self._begin(text, data, position, at)

    def go_on(self, missing: int) -> None:
        """Go on in the body of a response of which ``missing`` > 0 bytes are to come."""
        self._body = LengthBody(missing)

    def end(self, at: float) -> None:
        """The upstream ended at ``at``: a body that goes on until then is complete."""
        if isinstance(self._body, UntilCloseBody):
            self._responded(at)
        self.forget()

    def skip(self, n_bytes: int, at: float, tail: bytes) -> None:
        """Bytes, seen at ``at``, that were not kept, but for the last few."""
        body = self._body
        if body is None or not body.skip(n_bytes, tail):
            raise NotFollowedError("overrun")
        self._transactions.add_gap(self._transactions.waiting[0].response, n_bytes)
        if body.done:
            self._responded(at)

    def _begin(self, text: bytes, data: bytes, start: int, at: float) -> int:
        """Begin a response with a head; return where the rest of its body begins in ``data``."""
        head = self._heads.response(text)
        if head is None or not self._transactions.waiting:
            raise NotFollowedError("malformed")
        transaction = self._transactions.waiting[0]
        method, status, length = transaction.head.method, head.status, head.length
        if status < 200 and status != 101:
            return start
        self._transactions.respond(head)
        if status == 101 or (method == "CONNECT" and status < 300):
            self._transactions.switched(at)
            raise NotFollowedError("upgrade")
        if method == "HEAD" or status in (204, 304):
            length = 0
        if 0 <= length <= len(data) - start:
            if length:
                self._add(data[start : start + length])
            self._responded(at)
            return start + length
        if length == UNTIL_CLOSE:
            self._body = UntilCloseBody()
        else:
            self._body = ChunkedBody() if length == CHUNKED else LengthBody(length)
        return start

    def _add(self, data: bytes) -> None:
        self._transactions.add(self._transactions.waiting[0].response, data)

    def _responded(self, at: float) -> None:
        self._body = None
        if self._transactions.responded(at).head.may_switch:
            self._requests.declined()

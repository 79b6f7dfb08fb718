"""A connection whose messages are cut anywhere, pipelined, chunked, or no HTTP/1 at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.http.http1.bodies import BodyReader, LengthBody, UntilCloseBody, body_reader
from exporter.http.http1.heads import HEAD_END, MAX_HEAD_BYTES, RequestHead, ResponseHead
from exporter.http.http1.states import NotFollowedError, Reason, State, is_hopeless, reason_for
from exporter.http.http1.transactions import Body, Observer, Transaction, Transactions

_MAX_AHEAD_BYTES = 64 * 1024
_PIECE_BYTES = 128  # what a piece that waits costs besides its bytes


class _Messages:
    """Reads one direction, cut anywhere: a head that is incomplete, and a body under way, which is copied to
    ``_copy``."""

    __slots__ = ("_body", "_copy", "_start", "_transactions")

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._start = bytearray()
        self._body: BodyReader | None = None
        self._copy = Body(None)

    @property
    def held(self) -> int:
        """Bytes of what is incomplete, but for bodies."""
        return len(self._start) + (self._body.held if self._body is not None else 0)

    def forget(self) -> None:
        """Let go of what is incomplete."""
        self._body = None
        self._start = bytearray()

    def read(self, data: bytes, at: float) -> None:
        """Bytes, seen at ``at``."""
        position, end = 0, len(data)
        while position < end:
            body = self._body
            if body is None:
                position = self._read_head(data, position, at)
                continue
            position = body.feed(data, position, self._add)
            if body.done:
                self._complete(at)

    def skip(self, n_bytes: int, tail: bytes, at: float) -> None:
        """Bytes, seen at ``at``, that were not kept, but for the last few."""
        body = self._body
        if body is None or not body.skip(n_bytes, tail):
            raise NotFollowedError("overrun")
        self._transactions.add_gap(self._copy, n_bytes)
        if body.done:
            self._complete(at)

    def _read_head(self, data: bytes, position: int, at: float) -> int:
        """Read what comes between two bodies; return where what is to be read next begins in ``data``."""
        raise NotImplementedError

    def _complete(self, at: float) -> None:
        """The message under way is complete."""
        raise NotImplementedError

    def _find_head(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """The head that begins or goes on in ``data`` at ``position``, None if it does not end there, and
        the place behind it."""
        start = self._start
        if not start:
            stop = data.find(HEAD_END, position) + len(HEAD_END)
            if stop >= len(HEAD_END):
                return data[position:stop], stop
        before = len(start)
        start += data[position:] if position else data
        stop = start.find(HEAD_END, max(0, before - len(HEAD_END) + 1)) + len(HEAD_END)
        if stop < len(HEAD_END):
            return None, len(data)
        self._start = bytearray()
        return bytes(start[:stop]), position + stop - before

    def _read_body(self, copy: Body, length: int, data: bytes, start: int, at: float) -> int:
        """Begin a body, and complete it if it came with its head; return as :meth:`_read_head` does."""
        self._copy = copy
        if not 0 <= length <= len(data) - start:
            self._body = body_reader(length)
            return start
        if length:
            self._add(data[start : start + length])
        self._complete(at)
        return start + length

    def _add(self, data: bytes) -> None:
        self._transactions.add(self._copy, data)


class Requests(_Messages):
    """Reads what the client sent, and begins a transaction with each request: ``current`` is the one whose
    request is being read. ``must_close`` says that no other request comes after the last one."""

    __slots__ = ("_ahead", "_ahead_bytes", "_heads", "_started", "current", "must_close")

    def __init__(self, observer: Observer, transactions: Transactions) -> None:
        super().__init__(transactions)
        self.current: Transaction | None = None
        self.must_close = False
        self._heads = observer.requests
        self._started = 0.0
        self._ahead: list[tuple[bytes, float]] | None = None  # pieces after a request that may switch
        self._ahead_bytes = 0

    @property
    def incomplete(self) -> bool:
        """Whether a part of a request is there."""
        return self.current is not None or bool(self._start)

    @property
    def held(self) -> int:
        return super().held + self._ahead_bytes

    def go_on(self, transaction: Transaction, missing: int, at: float) -> None:
        """Go on in the body of a request of which ``missing`` bytes are to come."""
        self.current, self._copy = transaction, transaction.request
        if missing:
            self._body = LengthBody(missing)
        else:
            self._complete(at)

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

    def _read_head(self, data: bytes, position: int, at: float) -> int:
        end = len(data)
        if self.must_close:
            return end
        if self._ahead is not None:
            # What these bytes mean depends on the response to a request to switch protocols.
            self._ahead.append((data[position:], at))
            self._ahead_bytes += end - position + _PIECE_BYTES
            if self._ahead_bytes > _MAX_AHEAD_BYTES:
                raise NotFollowedError("overrun")
            return end
        if not self._start:
            while position < end and data[position] in b"\r\n":  # RFC 9112, section 2.2
                position += 1
            if position == end:
                return end
            self._started = at
        text, position = self._find_head(data, position)
        if text is None:
            if is_hopeless(self._start, MAX_HEAD_BYTES):
                raise NotFollowedError(reason_for(self._start))
            return end
        head = self._heads.read(text)
        if head is None:
            raise NotFollowedError(reason_for(text))
        transaction = self.current = self._transactions.begin(head, self._started)
        return self._read_body(transaction.request, head.length, data, position, at)

    def _complete(self, _at: float) -> None:
        transaction, self.current, self._body = self.current, None, None
        if transaction is not None:
            head = transaction.head
            self.must_close = head.last and not head.may_switch
            if head.may_switch and transaction.ended is None:
                self._ahead = []
            self._transactions.requested(transaction)


class Responses(_Messages):
    """Reads what the upstream sent, and completes transactions with it."""

    __slots__ = ("_heads", "_requests")

    def __init__(self, observer: Observer, transactions: Transactions, requests: Requests) -> None:
        super().__init__(transactions)
        self._heads = observer.responses
        self._requests = requests

    def go_on(self, transaction: Transaction, missing: int) -> None:
        """Go on in the body of a response of which ``missing`` > 0 bytes are to come."""
        self._copy, self._body = transaction.response, LengthBody(missing)

    def end(self, at: float) -> None:
        """The upstream ended at ``at``: a body that goes on until then is complete."""
        if isinstance(self._body, UntilCloseBody):
            self._complete(at)
        self.forget()

    def _read_head(self, data: bytes, position: int, at: float) -> int:
        text, position = self._find_head(data, position)
        waiting = self._transactions.waiting
        if text is None:
            start = self._start
            if len(start) > MAX_HEAD_BYTES or not waiting or not b"HTTP/".startswith(start[:5]):
                raise NotFollowedError("malformed")
            return position
        head = self._heads.read(text)
        if head is None or not waiting:
            raise NotFollowedError("malformed")
        method, status = waiting[0].head.method, head.status
        if status < 200 and status != 101:
            return position
        transaction = self._transactions.respond(head)
        if status == 101 or (method == "CONNECT" and status < 300):
            self._transactions.responded(at, switched=True)
            raise NotFollowedError("upgrade")
        length = 0 if method == "HEAD" or status in (204, 304) else head.length
        return self._read_body(transaction.response, length, data, position, at)

    def _complete(self, at: float) -> None:
        self._body = None
        if self._transactions.responded(at).head.may_switch:
            self._requests.declined()


class Connection:
    """Follows one connection, whatever its bytes are. No method raises."""

    __slots__ = ("_held", "_observer", "_transactions", "reason", "requests", "responses")

    def __init__(self, observer: Observer) -> None:
        self.reason: Reason | None = None
        self._observer = observer
        self._held = 0
        self._transactions = Transactions(observer)
        self.requests = Requests(observer, self._transactions)
        self.responses = Responses(observer, self._transactions, self.requests)

    @property
    def state(self) -> State:
        """Where the connection stands."""
        if self.reason is not None:
            return "SWITCHED_PROTOCOL" if self.reason == "upgrade" else "ERROR"
        if self.requests.incomplete:
            return "SEND_BODY"
        if self._transactions.waiting:
            return "DONE"
        return "MUST_CLOSE" if self.requests.must_close else "IDLE"

    def read(self, read: Callable[..., None], *what: Any) -> bool:
        """Read something with a method of ``requests`` or ``responses``, unless the connection is given up,
        and settle what is held of incomplete parts. Whether nothing is under way then."""
        if self.reason is None:
            try:
                read(*what)
                held = self.requests.held + self.responses.held
                if held != self._held:
                    self._observer.account.take(held - self._held)
                    self._held = held
            except NotFollowedError as error:
                self.give_up(error.reason)
        return self.state == "IDLE"

    def go_on(
        self,
        request: tuple[RequestHead, bytes, float],
        response: tuple[ResponseHead, bytes] | None,
        missing: int,
    ) -> None:
        """Go on in a transaction of known lengths: a request's head, its body if it is wanted, and when it
        started, and a response's likewise. Of the last of them ``missing`` bytes are to come."""
        transactions, (head, body, started) = self._transactions, request
        transaction = transactions.begin(head, started)
        rest = missing if response is None else 0
        if body:
            transactions.add(transaction.request, body)
        transaction.request.size = head.length - rest
        self.requests.go_on(transaction, rest, started)
        if response is not None:
            transactions.respond(response[0])
            if response[1]:
                transactions.add(transaction.response, response[1])
            transaction.response.size = response[0].length - missing
            self.responses.go_on(transaction, missing)

    def upstream_ended(self, at: float, *, client_left: bool) -> None:
        """The upstream ended at ``at``; ``client_left`` says whether the client had ended before."""
        if self.reason is None:
            self.responses.end(at)
            if self._transactions.waiting and not client_left:
                self._observer.cut_off += 1
            self._transactions.break_off(at, self.requests.current, client_left=client_left)
            self.requests.end()

    def give_up(self, reason: Reason) -> None:
        """Follow no longer, if it still was followed."""
        if self.reason is None:
            self.reason = reason
            self._forget()

    def closed(self, at: float, *, client_left: bool) -> None:
        """The connection is gone at ``at``: what is incomplete is over."""
        if self.reason is None:
            self._transactions.break_off(at, self.requests.current, client_left=client_left)
        self._forget()

    def _forget(self) -> None:
        self._transactions.forget()
        self.requests.forget()
        self.responses.forget()
        self._observer.account.n_bytes -= self._held
        self._held = 0

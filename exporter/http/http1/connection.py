"""A connection whose messages are cut anywhere, pipelined, chunked, or no HTTP/1 at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.http.http1.heads import RequestHead, ResponseHead
from exporter.http.http1.messages import Requests, Responses
from exporter.http.http1.states import NotFollowedError, Reason, State
from exporter.http.http1.transactions import CLIENT_LEFT, UPSTREAM_FAILED, Observer, Transactions


class Connection:
    """Follows one connection, whatever its bytes are. No method raises."""

    __slots__ = ("_account", "_held", "_observer", "_requests", "_responses", "_transactions", "reason")

    def __init__(self, observer: Observer) -> None:
        self.reason: Reason | None = None
        self._observer = observer
        self._account = observer.account
        self._held = 0
        self._transactions = Transactions(observer)
        self._requests = Requests(observer.heads, self._transactions)
        self._responses = Responses(observer.heads, self._transactions, self._requests)

    @property
    def state(self) -> State:
        """Where the connection stands."""
        if self.reason is not None:
            return "SWITCHED_PROTOCOL" if self.reason == "upgrade" else "ERROR"
        if self._requests.incomplete:
            return "SEND_BODY"
        if self._transactions.waiting:
            return "DONE"
        return "MUST_CLOSE" if self._requests.must_close else "IDLE"

    def request(self, head: RequestHead, body: bytes, started: float, missing: int) -> None:
        """Go on in a request of known length of which all but ``missing`` bytes have come.

        ``body`` is what has come of its body if the exchange is wanted, and empty otherwise.
        """

        def go_on() -> None:
            transaction = self._transactions.begin(head, started)
            if body:
                self._transactions.add(transaction.request, body)
            transaction.request.size = head.length - missing
            self._requests.go_on(transaction, missing)

        self._read(go_on)

    def response(self, head: ResponseHead, body: bytes, missing: int) -> None:
        """Go on in a response of known length, likewise; ``missing`` > 0."""

        def go_on() -> None:
            transaction = self._transactions.respond(head)
            if body:
                self._transactions.add(transaction.response, body)
            transaction.response.size = head.length - missing
            self._responses.go_on(missing)

        self._read(go_on)

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client, seen at ``at``."""
        self._read(self._requests.read, data, at)

    def from_upstream(self, data: bytes, at: float) -> None:
        """Bytes of the upstream, seen at ``at``."""
        self._read(self._responses.read, data, at)

    def client_gap(self, n_bytes: int, tail: bytes = b"") -> None:
        """Bytes of the client that were not kept, but for the last few, if they are known."""
        self._read(self._requests.skip, n_bytes, tail)

    def upstream_gap(self, n_bytes: int, at: float, tail: bytes = b"") -> None:
        """Bytes of the upstream, seen at ``at``, that were not kept, but for the last few."""
        self._read(self._responses.skip, n_bytes, at, tail)

    def upstream_ended(self, at: float, *, client_left: bool) -> None:
        """The upstream ended at ``at``; ``client_left`` says whether the client had ended before."""
        if self.reason is None:
            self._responses.end(at)
            if self._transactions.waiting and not client_left:
                self._observer.cut_off += 1
            self._break_off(at, client_left=client_left)
            self._requests.end()

    def give_up(self, reason: Reason) -> None:
        """Follow no longer, if it still was followed."""
        if self.reason is None:
            self.reason = reason
            self._forget()

    def closed(self, at: float, *, client_left: bool) -> None:
        """The connection is gone at ``at``: what is incomplete is over."""
        if self.reason is None:
            self._break_off(at, client_left=client_left)
        self._forget()

    def _break_off(self, at: float, *, client_left: bool) -> None:
        status = CLIENT_LEFT if client_left else UPSTREAM_FAILED
        self._transactions.break_off(at, status, self._requests.current)

    def _read(self, read: Callable[..., None], *what: Any) -> None:
        """Read something, unless the connection is given up, and settle what is held of incomplete parts."""
        if self.reason is None:
            try:
                read(*what)
                held = self._requests.held + self._responses.held
                if held != self._held:
                    self._account.take(held - self._held)
                    self._held = held
            except NotFollowedError as error:
                self.give_up(error.reason)

    def _forget(self) -> None:
        self._transactions.forget()
        self._requests.forget()
        self._responses.forget()
        self._account.n_bytes -= self._held
        self._held = 0

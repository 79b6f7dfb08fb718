"""A connection whose messages are cut anywhere, pipelined, chunked, or no HTTP/1 at all."""

from __future__ import annotations

from exporter.http.http1.heads import RequestHead, ResponseHead
from exporter.http.http1.reasons import Kind, NotFollowedError
from exporter.http.http1.requests import Requests
from exporter.http.http1.responses import Answers
from exporter.http.http1.states import Phase
from exporter.http.http1.transactions import Observer, Turns


class Conversation:
    """Follows one connection, whatever its bytes are. No method raises."""

    __slots__ = ("_answers", "_requests", "_turns", "kind")

    def __init__(self, observer: Observer) -> None:
        self.kind: Kind | None = None
        self._turns = Turns(observer)
        self._requests = Requests(observer.heads, self._turns)
        self._answers = Answers(observer.heads, self._turns, self._requests)

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        if self.kind is not None:
            return "unfollowed"
        if self._requests.incomplete:
            return "asking"
        return "answering" if self._turns.waiting else "idle"

    @property
    def idle(self) -> bool:
        """Whether nothing is under way and another request may come."""
        return self.kind is None and not self._turns.waiting and self._requests.between

    def asking(self, head: RequestHead, body: bytes, started: float, missing: int) -> None:
        """Go on in a request of known length of which all but ``missing`` bytes passed.

        ``body`` is what passed of its body if the exchange is wanted, and empty otherwise.
        """
        turn = self._turns.begin(head, started)
        if head.wanted:
            self._turns.request_piece(turn, body)
        else:
            turn.exchange.request_gap(head.length - missing)
        self._requests.go_on(turn, missing)

    def answering(self, head: ResponseHead, body: bytes, missing: int) -> None:
        """Go on in an answer of known length, likewise; ``missing`` > 0."""
        turn = self._turns.waiting[0]
        turn.exchange.response_start(head.status, head.headers)
        if turn.head.wanted:
            self._turns.response_piece(body)
        else:
            turn.exchange.response_gap(head.length - missing)
        self._answers.go_on(missing)

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client that passed at ``at``."""
        if self.kind is None:
            try:
                self._requests.read(data, at)
            except NotFollowedError as error:
                self.give_up(error.kind)

    def from_upstream(self, data: bytes, at: float) -> None:
        """Bytes of the upstream that passed at ``at``; ``b""`` for its end."""
        if self.kind is None:
            try:
                if data:
                    self._answers.read(data, at)
                else:
                    self._answers.end(at)
            except NotFollowedError as error:
                self.give_up(error.kind)

    def client_gap(self, n_bytes: int, tail: bytes = b"") -> None:
        """Bytes of the client passed that were not kept, but for the last few, if they are known."""
        if self.kind is None:
            try:
                self._requests.skip(n_bytes, tail)
            except NotFollowedError as error:
                self.give_up(error.kind)

    def upstream_gap(self, n_bytes: int, at: float, tail: bytes = b"") -> None:
        """Bytes of the upstream passed at ``at`` that were not kept, but for the last few."""
        if self.kind is None:
            try:
                self._answers.skip(n_bytes, at, tail)
            except NotFollowedError as error:
                self.give_up(error.kind)

    def give_up(self, kind: Kind) -> None:
        """Follow no longer, if it still was followed."""
        if self.kind is None:
            self.kind = kind
            self._forget()

    def closed(self, at: float) -> None:
        """The connection is gone at ``at``: what is incomplete is over, and marked as aborted."""
        if self.kind is None:
            self._turns.broken_off(at, self._requests.asking)
        self._forget()

    def _forget(self) -> None:
        self._turns.forget()
        self._requests.forget()
        self._answers.forget()

"""A connection's two byte streams seen as HTTP/1 exchanges. It looks, it never alters.

Sans-IO: whoever has the bytes feeds them in, cut anywhere, in the order in which they passed. What
cannot be followed gives the connection a :attr:`Http1Follower.kind`; its bytes are ignored from then on.
"""

from __future__ import annotations

from exporter.capture.http1_answers import Answers
from exporter.capture.http1_kind import KINDS, Kind, NotFollowedError
from exporter.capture.http1_passed import Passed
from exporter.capture.http1_requests import Requests
from exporter.capture.http1_turns import MAX_OUTSTANDING, Observer, Turns
from exporter.capture.plane.tap import Phase

__all__ = ["KINDS", "MAX_OUTSTANDING", "Http1Follower", "Kind", "Observer", "Passed"]


class Http1Follower:
    """Follows one connection. No method raises, whatever the bytes are."""

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

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client that passed at ``at`` (seconds since the epoch); ``b""`` for its end."""
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

    def client_gap(self, n_bytes: int) -> None:
        """Bytes of the client passed that were not kept."""
        if self.kind is None:
            try:
                self._requests.skip(n_bytes)
            except NotFollowedError as error:
                self.give_up(error.kind)

    def upstream_gap(self, n_bytes: int, at: float) -> None:
        """Bytes of the upstream passed at ``at`` that were not kept."""
        if self.kind is None:
            try:
                self._answers.skip(n_bytes, at)
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

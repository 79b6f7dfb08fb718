"""A connection's two byte streams seen as HTTP/1 exchanges. It looks, it never alters.

Sans-IO: whoever has the bytes feeds them in, cut anywhere, in the order in which they passed. What
cannot be followed gives the connection a :attr:`Http1Follower.kind`; its bytes are ignored from then on.
"""

from __future__ import annotations

from exporter.capture.http1_conversation import Conversation
from exporter.capture.http1_head import RequestHead
from exporter.capture.http1_kind import KINDS, Kind
from exporter.capture.http1_passed import Passed
from exporter.capture.http1_turns import MAX_OUTSTANDING, Observer
from exporter.capture.http1_whole import WholeExchange
from exporter.capture.plane.tap import Phase

__all__ = ["KINDS", "MAX_OUTSTANDING", "Http1Follower", "Kind", "Observer", "Passed"]


class Http1Follower:
    """Follows one connection. No method raises, whatever the bytes are.

    Nearly always a request comes in one piece on a connection where nothing else is under way, and so
    does its answer: such an exchange is recorded here at once. A :class:`Conversation` has all others.
    """

    __slots__ = (
        "_answer_head_size",
        "_between",
        "_body",
        "_conversation",
        "_head",
        "_head_size",
        "_observer",
        "_started",
    )

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._between = True  # nothing is under way
        self._head: RequestHead | None = None  # of a whole request that waits for its answer
        self._body: bytes | None = None
        self._started = 0.0
        self._conversation: Conversation | None = None
        # A head has most likely the length of the one before, which saves looking for its end: bytes
        # that begin like a head seen before, to its last byte, begin with that head.
        self._head_size = 0
        self._answer_head_size = 0

    @property
    def kind(self) -> Kind | None:
        """Why the connection is not followed."""
        return None if self._conversation is None else self._conversation.kind

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        if self._head is not None:
            return "answering"
        return "idle" if self._between or self._conversation is None else self._conversation.phase

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client that passed at ``at`` (seconds since the epoch); ``b""`` for its end."""
        if self._between:
            observer = self._observer
            head = observer.known_request(data[: self._head_size])
            if head is None:
                self._head_size = size = data.find(b"\r\n\r\n") + 4
                head = observer.heads.request(data[:size]) if size > 3 else None
            if head is not None and head.whole_size == len(data):
                if not head.wanted:
                    self._head, self._started, self._between = head, at, False
                    return
                if observer.has_room(head.length):
                    observer.kept_bytes += head.length
                    self._body = data[head.size :]
                    self._head, self._started, self._between = head, at, False
                    return
        conversation = self._converse()
        conversation.from_client(data, at)
        self._between = conversation.idle

    def from_upstream(self, data: bytes, at: float) -> None:
        """Bytes of the upstream that passed at ``at``; ``b""`` for its end."""
        head = self._head
        if head is not None:
            observer = self._observer
            answer = observer.known_response(data[: self._answer_head_size])
            if answer is None:
                self._answer_head_size = size = data.find(b"\r\n\r\n") + 4
                answer = observer.heads.response(data[:size]) if size > 3 else None
            if answer is not None and answer.whole_size == len(data):
                body = self._body
                if body is None:
                    observer.passed.append(
                        Passed(
                            head.method,
                            head.path,
                            self._started,
                            at,
                            answer.status,
                            head.length,
                            answer.length,
                        )
                    )
                    self._head, self._between = None, True
                    return
                if observer.has_room(answer.length):
                    observer.kept_bytes -= head.length
                    observer.exchanges.append(
                        WholeExchange(
                            head,
                            body,
                            answer,
                            data[answer.size :],
                            self._started,
                            at,
                            observer.max_body_bytes,
                        )
                    )
                    self._head, self._body, self._between = None, None, True
                    return
        conversation = self._converse()
        conversation.from_upstream(data, at)
        self._between = conversation.idle

    def client_gap(self, n_bytes: int) -> None:
        """Bytes of the client passed that were not kept."""
        conversation = self._converse()
        conversation.client_gap(n_bytes)
        self._between = conversation.idle

    def upstream_gap(self, n_bytes: int, at: float) -> None:
        """Bytes of the upstream passed at ``at`` that were not kept."""
        conversation = self._converse()
        conversation.upstream_gap(n_bytes, at)
        self._between = conversation.idle

    def give_up(self, kind: Kind) -> None:
        """Follow no longer, if it still was followed."""
        self._converse().give_up(kind)

    def closed(self, at: float) -> None:
        """The connection is gone at ``at``: what is incomplete is over, and marked as aborted."""
        if not self._between:
            self._converse().closed(at)

    def _converse(self) -> Conversation:
        """What follows the connection in every case, from where it stands."""
        conversation = self._conversation
        if conversation is None:
            conversation = self._conversation = Conversation(self._observer)
        head, body = self._head, self._body
        self._head = self._body = None
        self._between = False
        if head is not None:
            if body is not None:
                self._observer.kept_bytes -= len(body)
            conversation.asked(head, body, self._started)
        return conversation

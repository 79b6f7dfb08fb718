"""A connection's two byte streams seen as HTTP/1 exchanges. It looks, it never alters.

Sans-IO: whoever has the bytes feeds them in, cut anywhere, in the order in which they passed. What
cannot be followed gives the connection a :attr:`Http1Follower.kind`; its bytes are ignored from then on.
"""

from __future__ import annotations

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.http.http1.complete import WholeExchange
from exporter.http.http1.connection import Conversation
from exporter.http.http1.heads import RequestHead, ResponseHead
from exporter.http.http1.reasons import KINDS, Kind
from exporter.http.http1.states import Phase
from exporter.http.http1.summaries import Passed
from exporter.http.http1.transactions import MAX_OUTSTANDING, Observer

__all__ = ["KINDS", "MAX_OUTSTANDING", "TAIL_BYTES", "Http1Follower", "Kind", "Observer", "Passed"]

_MAX_USUAL_BYTES = 2048  # each connection remembers two heads


class Http1Follower:
    """Follows one connection. No method raises, whatever the bytes are.

    Nearly all exchanges are alike: a request of a known length, on a connection where nothing else is
    under way, and then an answer of a known length. Those are followed here, in as few steps as there
    can be; a :class:`Conversation` has all others.
    """

    __slots__ = (
        "_answer",
        "_answer_body",
        "_between",
        "_body",
        "_conversation",
        "_head",
        "_missing",
        "_observer",
        "_started",
        "_usual",
        "_usual_answer",
        "_usual_answer_bytes",
        "_usual_bytes",
    )

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._conversation: Conversation | None = None
        self._between = True  # nothing is under way
        self._head: RequestHead | None = None
        self._answer: ResponseHead | None = None
        self._body = b""  # as far as it is wanted and has passed
        self._answer_body = b""
        self._missing = 0  # bytes of the message under way that are to come
        self._started = 0.0
        # The heads of the last messages, since the next ones most likely have the same: bytes that begin
        # like a whole head begin with that head.
        self._usual: RequestHead | None = None
        self._usual_bytes = b""
        self._usual_answer: ResponseHead | None = None
        self._usual_answer_bytes = b""

    @property
    def kind(self) -> Kind | None:
        """Why the connection is not followed."""
        return None if self._conversation is None else self._conversation.kind

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        if self._head is not None:
            return "asking" if self._missing and self._answer is None else "answering"
        return "idle" if self._between or self._conversation is None else self._conversation.phase

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client that passed at ``at`` (seconds since the epoch); ``b""`` for its end."""
        observer = self._observer
        if self._between:
            head = self._usual
            if head is None or not data.startswith(self._usual_bytes):
                head = self._request_head(data)
            if (
                head is not None
                and (missing := head.whole_size - len(data)) >= 0
                and (not head.wanted or observer.has_room(head.length))
            ):
                if head.wanted:
                    self._body = data[head.size :]
                    observer.kept_bytes += head.length - missing
                self._head, self._missing, self._started, self._between = head, missing, at, False
                return
        elif self._missing == len(data) > 0 and self._answer is None and observer.has_room(self._missing):
            # The rest of a request: many send the body by itself.
            self._missing = 0
            if self._head is not None and self._head.wanted:
                self._body += data
                observer.kept_bytes += len(data)
            return
        conversation = self._converse()
        conversation.from_client(data, at)
        self._between = conversation.idle

    def from_upstream(self, data: bytes, at: float) -> None:
        """Bytes of the upstream that passed at ``at``; ``b""`` for its end."""
        head, answer, missing = self._head, self._answer, self._missing
        if head is not None:
            observer = self._observer
            if answer is not None:
                if missing == len(data) and observer.has_room(missing):
                    observer.kept_bytes -= len(self._answer_body)
                    self._answer = None
                    self._complete(head, answer, self._answer_body + data if head.wanted else b"", at)
                    return
            elif not missing:
                answer = self._usual_answer
                if answer is None or not data.startswith(self._usual_answer_bytes):
                    answer = self._response_head(data)
                if (
                    answer is not None
                    and (rest := answer.whole_size - len(data)) >= 0
                    and (not head.wanted or observer.has_room(answer.length))
                ):
                    body = data[answer.size :] if head.wanted else b""
                    if rest:
                        self._answer, self._answer_body, self._missing = answer, body, rest
                        observer.kept_bytes += len(body)
                    else:
                        self._complete(head, answer, body, at)
                    return
        conversation = self._converse()
        conversation.from_upstream(data, at)
        self._between = conversation.idle

    def client_gap(self, n_bytes: int, tail: bytes = b"") -> None:
        """Bytes of the client passed that were not kept, but for up to ``TAIL_BYTES`` last ones, ``tail``.

        Inside a chunked body they make it possible to go on.
        """
        conversation = self._converse()
        conversation.client_gap(n_bytes, tail)
        self._between = conversation.idle

    def upstream_gap(self, n_bytes: int, at: float, tail: bytes = b"") -> None:
        """Bytes of the upstream passed at ``at`` that were not kept, likewise."""
        conversation = self._converse()
        conversation.upstream_gap(n_bytes, at, tail)
        self._between = conversation.idle

    def give_up(self, kind: Kind) -> None:
        """Follow no longer, if it still was followed."""
        self._converse().give_up(kind)

    def closed(self, at: float) -> None:
        """The connection is gone at ``at``: what is incomplete is over, and marked as aborted."""
        if not self._between:
            self._converse().closed(at)

    def forget_heads(self) -> None:
        """Read the next head anew, whatever the last one was."""
        self._usual = None

    def _request_head(self, data: bytes) -> RequestHead | None:
        """The head that ``data`` begins with; None if it does not, or cannot be read."""
        size = data.find(b"\r\n\r\n") + 4
        if size < 4:
            return None
        head = self._observer.heads.request(data[:size])
        if size <= _MAX_USUAL_BYTES:
            self._usual, self._usual_bytes = head, data[:size]
        return head

    def _response_head(self, data: bytes) -> ResponseHead | None:
        """Likewise of an answer."""
        size = data.find(b"\r\n\r\n") + 4
        if size < 4:
            return None
        answer = self._observer.heads.response(data[:size])
        if size <= _MAX_USUAL_BYTES:
            self._usual_answer, self._usual_answer_bytes = answer, data[:size]
        return answer

    def _complete(self, head: RequestHead, answer: ResponseHead, answer_body: bytes, at: float) -> None:
        """The exchange under way is complete."""
        observer, started = self._observer, self._started
        if head.wanted:
            observer.kept_bytes -= head.length
            observer.exchanges.append(
                WholeExchange(head, self._body, answer, answer_body, started, at, observer.max_body_bytes)
            )
            self._body = self._answer_body = b""
        else:
            observer.passed.append(
                (head.method, head.path, answer.status, started, at, head.length, answer.length)
            )
        self._head, self._missing, self._between = None, 0, True

    def _converse(self) -> Conversation:
        """What follows the connection in every case, from where it stands."""
        conversation = self._conversation
        if conversation is None:
            conversation = self._conversation = Conversation(self._observer)
        head, answer, missing = self._head, self._answer, self._missing
        if head is not None:
            self._observer.kept_bytes -= len(self._body) + len(self._answer_body)
            conversation.asking(head, self._body, self._started, missing if answer is None else 0)
            if answer is not None:
                conversation.answering(answer, self._answer_body, missing)
        self._head = self._answer = None
        self._body = self._answer_body = b""
        self._missing = 0
        self._between = False
        return conversation

"""The exchanges of a connection that are under way, and what may be kept of them."""

from __future__ import annotations

from collections import deque

from exporter.http.exchange import Exchange
from exporter.http.http1.heads import Heads, RequestHead, Select
from exporter.http.http1.reasons import NotFollowedError
from exporter.http.http1.summaries import Passed, Passing

MAX_OUTSTANDING = 256
"""Pipelined requests of one connection that wait for their answers."""
MAX_OUTSTANDING_HEAD_BYTES = 1024 * 1024
_BODIES_PER_CONNECTION = 4


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

    def has_room(self, n_bytes: int) -> bool:
        """Whether a whole body of ``n_bytes`` may be kept."""
        return n_bytes <= self.max_body_bytes and self.kept_bytes + n_bytes <= self.max_kept_bytes


class Turn:
    """A request and, in time, its answer."""

    __slots__ = ("answered", "asked", "exchange", "head", "kept")

    def __init__(self, head: RequestHead, exchange: Exchange | Passing) -> None:
        self.head = head
        self.exchange = exchange
        self.asked = False
        self.answered = False
        self.kept = 0


class Turns:
    """The turns of one connection, the oldest first; ``waiting`` are those not answered in full."""

    __slots__ = ("_head_bytes", "_kept", "_observer", "waiting")

    def __init__(self, observer: Observer) -> None:
        self.waiting: deque[Turn] = deque()
        self._observer = observer
        self._head_bytes = 0
        self._kept = 0

    def begin(self, head: RequestHead, started: float) -> Turn:
        """Begin an exchange.

        Raises
        ------
        NotFollowedError
            "overrun", if too many wait for their answers.
        """
        if len(self.waiting) >= MAX_OUTSTANDING or self._head_bytes > MAX_OUTSTANDING_HEAD_BYTES:
            raise NotFollowedError("overrun")
        exchange: Exchange | Passing
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
            exchange = Passing(head.method, head.path, started)
        turn = Turn(head, exchange)
        self.waiting.append(turn)
        self._head_bytes += head.size
        return turn

    def request_piece(self, turn: Turn, data: bytes) -> None:
        """Add a piece of the body of a request."""
        exchange = turn.exchange
        if exchange.request_truncated or self._room(turn, exchange.request_size, len(data)):
            exchange.request_chunk(data)
        else:
            exchange.request_gap(len(data))

    def response_piece(self, data: bytes) -> None:
        """Add a piece of the body of the answer to the oldest request."""
        turn = self.waiting[0]
        exchange = turn.exchange
        if exchange.response_truncated or self._room(turn, exchange.response_size, len(data)):
            exchange.response_chunk(data)
        else:
            exchange.response_gap(len(data))

    def asked(self, turn: Turn) -> None:
        """A request is complete."""
        turn.asked = True
        if turn.answered:
            self._emit(turn)

    def answered(self, at: float) -> Turn:
        """The answer to the oldest request is complete."""
        turn = self.waiting.popleft()
        self._head_bytes -= turn.head.size
        turn.answered = True
        turn.exchange.finish(at)
        if turn.asked:
            self._emit(turn)
        return turn

    def switched(self, at: float) -> None:
        """The oldest request was answered with another protocol, whether it was complete or not."""
        turn = self.waiting.popleft()
        turn.exchange.finish(at)
        self._emit(turn)

    def broken_off(self, at: float, asking: Turn | None) -> None:
        """The connection is gone at ``at``, in the midst of the request ``asking``."""
        if asking is not None and asking.answered:
            self._emit(asking)
        while self.waiting:
            turn = self.waiting.popleft()
            turn.exchange.finish(at, aborted=True)
            self._emit(turn)

    def forget(self) -> None:
        """Let go of what is incomplete."""
        self._observer.kept_bytes -= self._kept
        self._kept = 0
        self.waiting.clear()

    def _room(self, turn: Turn, size: int, n_bytes: int) -> bool:
        """Take room for ``n_bytes`` more of a body that has ``size`` so far, if there is."""
        observer = self._observer
        if (
            size + n_bytes > observer.max_body_bytes
            or observer.kept_bytes + n_bytes > observer.max_kept_bytes
            or self._kept + n_bytes > _BODIES_PER_CONNECTION * observer.max_body_bytes
        ):
            return False
        turn.kept += n_bytes
        self._kept += n_bytes
        observer.kept_bytes += n_bytes
        return True

    def _emit(self, turn: Turn) -> None:
        self._observer.kept_bytes -= turn.kept
        self._kept -= turn.kept
        exchange = turn.exchange
        if isinstance(exchange, Exchange):
            self._observer.exchanges.append(exchange)
        else:
            self._observer.passed.append(exchange.passed())

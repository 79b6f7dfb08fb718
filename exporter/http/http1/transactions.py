"""The transactions of a connection that are under way, and what is copied of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial

from exporter.http.exchange import Exchange
from exporter.http.http1.heads import Heads, RequestHead, ResponseHead, Select, parse_request, parse_response
from exporter.http.http1.states import Account, NotFollowedError

MAX_OUTSTANDING = 256
"""Pipelined requests of one connection that wait for their responses."""
_MAX_OUTSTANDING_BYTES = 1024 * 1024  # of their heads, once parsed
_BODIES_PER_CONNECTION = 4
_TRANSACTION_BYTES = 512

CLIENT_LEFT, UPSTREAM_FAILED = 499, 502
"""The statuses, as nginx logs them, of transactions that the client or the upstream broke off."""

ExchangeSummary = tuple[str, str, int, float, float, int, int]
"""An exchange that nobody reads, since it was not wanted or broke off: method, path, status, when it
started and ended in seconds since the epoch, and the sizes of both bodies in bytes. There are tens of
thousands a second of them, hence a tuple: nothing is made in less time."""


class CompleteExchange(Exchange):
    """An :class:`Exchange` that is complete from the start, with bodies that are not longer than
    ``max_body_bytes``; made in one call, since there are many."""

    __slots__ = ()

    def __init__(
        self,
        head: RequestHead,
        body: bytes,
        response: ResponseHead,
        response_body: bytes,
        started: float,
        ended: float,
        max_body_bytes: int,
    ) -> None:
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.request_headers = head.headers
        self.max_body_bytes = max_body_bytes
        self.started = started
        self.ended = ended
        self.status = response.status
        self.response_headers = response.headers
        self.request_truncated = self.response_truncated = self.aborted = False
        self.notes = None
        self.refused = None
        self.embeddings = None
        self.read_as = None
        self.rows_left_out = 0
        self.finished = True
        self._request_chunks = body
        self._request_size = head.length
        self._response_chunks = response_body
        self._response_size = response.length

    def of_bodies(self, request: Body, response: Body) -> CompleteExchange:
        """The same, with bodies that need not have the length that the heads say, nor have been copied."""
        self._request_size, self.request_truncated = request.size, request.copy is None
        self._response_size, self.response_truncated = response.size, response.copy is None
        return self


class Observer:
    """What the followers of one thread share: parsed heads, results, and the account of their memory.

    ``select`` says of what headers and bodies are wanted. A body longer than ``max_body_bytes`` is counted
    and not kept; of all that is under way, and of the heads that are remembered, at most ``max_kept_bytes``
    are, see :class:`~exporter.http.http1.states.Account`. ``exchanges`` and ``summaries`` are of what is
    over, wanted and not, in order of completion; the owner takes them away. ``cut_off`` counts responses
    whose upstream ended the connection before them.
    """

    def __init__(self, select: Select, *, max_body_bytes: int, max_kept_bytes: int) -> None:
        self.account = Account(max_kept_bytes, max_body_bytes)
        self.requests: Heads[RequestHead] = Heads(partial(parse_request, select), self.account)
        self.responses: Heads[ResponseHead] = Heads(parse_response, self.account)
        self.exchanges: list[Exchange] = []
        self.summaries: list[ExchangeSummary] = []
        self.cut_off = 0


@dataclass(slots=True, eq=False, repr=False)
class Body:
    """One body of a transaction: its size, and a copy as long as there is room for all of it.

    Most bodies come in one piece; the pieces of others are joined, since each would cost an object.
    """

    copy: bytes | bytearray | None  # None where it is not wanted
    size: int = 0

    def copied(self) -> bytes:
        """The copy, empty if there is none."""
        return bytes(self.copy) if isinstance(self.copy, bytearray) else self.copy or b""


@dataclass(slots=True, eq=False, repr=False)
class Transaction:
    """A request and, in time, its response."""

    head: RequestHead
    started: float
    request: Body
    response: Body
    cost: int
    status: int = 0
    response_head: ResponseHead | None = None  # if it is wanted
    requested: bool = False  # the request is complete
    ended: float | None = None  # the response is incomplete


class Transactions:
    """The transactions of one connection, the oldest first; ``waiting`` wait for their response's end."""

    __slots__ = ("_account", "_body_bytes", "_n_bytes", "_observer", "waiting")

    def __init__(self, observer: Observer) -> None:
        self.waiting: deque[Transaction] = deque()
        self._observer = observer
        self._account = observer.account
        self._n_bytes = 0  # taken from the account for transactions and their heads
        self._body_bytes = 0  # and for copies of bodies

    def begin(self, head: RequestHead, started: float) -> Transaction:
        """Begin a transaction; :class:`NotFollowedError`, "overrun", if too much waits for its response, here
        or on all connections together."""
        if len(self.waiting) >= MAX_OUTSTANDING or self._n_bytes > _MAX_OUTSTANDING_BYTES:
            raise NotFollowedError("overrun")
        nothing = b"" if head.wanted else None
        cost = _TRANSACTION_BYTES + head.cost
        self._take(cost)
        transaction = Transaction(head, started, Body(nothing), Body(nothing), cost)
        self.waiting.append(transaction)
        return transaction

    def respond(self, head: ResponseHead) -> Transaction:
        """Begin the response to the oldest request; it raises as :meth:`begin` does."""
        transaction = self.waiting[0]
        transaction.status = head.status
        if transaction.head.wanted:
            self._take(head.cost)
            transaction.cost += head.cost
            transaction.response_head = head
        return transaction

    def add(self, body: Body, data: bytes) -> None:
        """Add a piece of a body, and to its copy as well if there is room."""
        n_bytes = len(data)
        size = body.size = body.size + n_bytes
        copy = body.copy
        if copy is None:
            return
        account = self._account
        if (
            size > account.max_body_bytes
            or not account.has_room_for_body(n_bytes)
            or self._body_bytes + n_bytes > _BODIES_PER_CONNECTION * account.max_body_bytes
        ):
            self._drop(body)
            return
        account.n_bytes += n_bytes
        self._body_bytes += n_bytes
        if not copy:
            body.copy = data
        elif isinstance(copy, bytearray):
            copy += data
        else:
            body.copy = bytearray(copy) + data

    def add_gap(self, body: Body, n_bytes: int) -> None:
        """Note bytes of a body that were not seen."""
        body.size += n_bytes
        self._drop(body)

    def requested(self, transaction: Transaction) -> None:
        """A request is complete."""
        transaction.requested = True
        if transaction.ended is not None:
            self._emit(transaction)

    def responded(self, at: float, *, switched: bool = False) -> Transaction:
        """The response to the oldest request is complete; if it switched to another protocol, so is all."""
        transaction = self.waiting.popleft()
        transaction.ended = at
        if transaction.requested or switched:
            self._emit(transaction)
        return transaction

    def break_off(self, at: float, requesting: Transaction | None, *, client_left: bool) -> None:
        """No response comes any more, as of ``at``, in the midst of the request ``requesting``."""
        if requesting is not None and requesting.ended is not None:
            self._emit(requesting)  # what had its response early is complete
        status = CLIENT_LEFT if client_left else UPSTREAM_FAILED
        while self.waiting:
            transaction = self.waiting.popleft()
            transaction.ended, transaction.status = at, status
            self._emit(transaction, broken_off=True)

    def forget(self) -> None:
        """Let go of what is incomplete."""
        self._account.n_bytes -= self._n_bytes + self._body_bytes
        self._n_bytes = self._body_bytes = 0
        self.waiting.clear()

    def _take(self, n_bytes: int) -> None:
        self._account.take(n_bytes)
        self._n_bytes += n_bytes

    def _drop(self, body: Body) -> None:
        if body.copy:
            self._account.n_bytes -= len(body.copy)
            self._body_bytes -= len(body.copy)
        body.copy = None

    def _emit(self, transaction: Transaction, *, broken_off: bool = False) -> None:
        observer, head, response_head = self._observer, transaction.head, transaction.response_head
        request, response = transaction.request, transaction.response
        started, ended = transaction.started, transaction.ended or 0.0
        if response_head is not None and not broken_off:
            bodies = request.copied(), response_head, response.copied()
            exchange = CompleteExchange(head, *bodies, started, ended, self._account.max_body_bytes)
            observer.exchanges.append(exchange.of_bodies(request, response))
        else:
            sizes = request.size, response.size
            observer.summaries.append((head.method, head.path, transaction.status, started, ended, *sizes))
        self._take(-transaction.cost)
        self._drop(request)
        self._drop(response)

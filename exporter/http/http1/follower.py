"""A connection's two byte streams seen as HTTP/1 exchanges. It looks, it never alters.

Sans-IO: whoever has the bytes feeds them in, cut anywhere, in the order in which they came. What
cannot be followed gives the connection a :attr:`Http1Follower.reason`; its bytes are ignored from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.http.http1.connection import Connection
from exporter.http.http1.heads import HEAD_END, AnyHead, Heads, RequestHead, ResponseHead
from exporter.http.http1.states import Account, Reason, State
from exporter.http.http1.transactions import CompleteExchange, Observer


@dataclass(slots=True, eq=False, repr=False)
class Http1Follower:
    """Follows one connection. No method raises, whatever the bytes are.

    Nearly all exchanges are alike: a request of a known length, on a connection where nothing else is
    under way, and then a response of a known length. Those are followed here, in as few steps as there
    can be; a :class:`Connection` has all others.
    """

    _observer: Observer
    _account: Account = field(init=False)
    _connection: Connection | None = field(default=None, init=False)
    _client_left: bool = field(default=False, init=False)
    _between: bool = field(default=True, init=False)  # nothing is under way
    _head: RequestHead | None = field(default=None, init=False)
    _response: ResponseHead | None = field(default=None, init=False)
    _body: bytes = field(default=b"", init=False)  # as far as it is wanted and has come
    _response_body: bytes = field(default=b"", init=False)
    _fresh: int = field(default=0, init=False)  # the cost of this exchange's heads that nobody remembers
    _missing: int = field(default=0, init=False)  # bytes of the message under way that are to come
    _started: float = field(default=0.0, init=False)
    # The heads of the last messages, since the next ones most likely have the same: bytes that begin
    # like a complete head begin with that head.
    _usual: RequestHead | None = field(default=None, init=False)
    _usual_bytes: bytes = field(default=b"", init=False)
    _usual_response: ResponseHead | None = field(default=None, init=False)
    _usual_response_bytes: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self._account = self._observer.account

    @property
    def reason(self) -> Reason | None:
        """Why the connection is not followed."""
        return None if self._connection is None else self._connection.reason

    @property
    def state(self) -> State:
        """Where the connection stands."""
        if self._head is not None:
            return "SEND_BODY" if self._missing and self._response is None else "DONE"
        return "IDLE" if self._between or self._connection is None else self._connection.state

    def from_client(self, data: bytes, at: float) -> None:
        """Bytes of the client, seen at ``at`` (seconds since the epoch); ``b""`` for its end."""
        account = self._account
        if self._between:
            head = self._usual
            if head is None or not data.startswith(self._usual_bytes):
                head = self._find(self._observer.requests, data, self._usual)
                if head is not None and head.text:
                    self._usual, self._usual_bytes = head, head.text
            if (
                head is not None
                and (missing := head.full_size - len(data)) >= 0
                and (not head.wanted or account.has_room_for_body(head.length))
            ):
                if head.wanted:
                    self._body = data[head.size :]
                    account.n_bytes += head.length - missing
                self._head, self._missing, self._started, self._between = head, missing, at, False
                return
        elif self._missing == len(data) > 0 and self._response is None and (head := self._head) is not None:
            # The rest of a request: many send the body by itself.
            if not head.wanted:
                self._missing = 0
                return
            if account.has_room_for_body(len(data)):
                self._missing = 0
                self._body += data
                account.n_bytes += len(data)
                return
        if not data:
            self._client_left = True
            return
        connection = self._follow()
        self._between = connection.read(connection.requests.read, data, at)

    def from_upstream(self, data: bytes, at: float) -> None:
        """Bytes of the upstream, seen at ``at``; ``b""`` for its end."""
        head, response, missing = self._head, self._response, self._missing
        if head is not None:
            account = self._account
            if response is not None:
                if missing == len(data) and (not head.wanted or account.has_room_for_body(missing)):
                    account.n_bytes -= len(self._response_body)
                    self._response = None
                    self._complete(head, response, self._response_body + data if head.wanted else b"", at)
                    return
            elif not missing:
                response = self._usual_response
                if response is None or not data.startswith(self._usual_response_bytes):
                    response = self._find(self._observer.responses, data, self._usual_response)
                    if response is not None and response.text:
                        self._usual_response, self._usual_response_bytes = response, response.text
                if (
                    response is not None
                    and (rest := response.full_size - len(data)) >= 0
                    and (not head.wanted or account.has_room_for_body(response.length))
                ):
                    body = data[response.size :] if head.wanted else b""
                    if rest:
                        self._response, self._response_body, self._missing = response, body, rest
                        account.n_bytes += len(body)
                    else:
                        self._complete(head, response, body, at)
                    return
        if data:
            connection = self._follow()
            self._between = connection.read(connection.responses.read, data, at)
        elif not self._between:
            self._follow().upstream_ended(at, client_left=self._client_left)

    def client_gap(self, n_bytes: int, tail: bytes = b"") -> None:
        """Bytes of the client that were not kept, but for up to ``TAIL_BYTES`` last ones, ``tail``: inside a
        chunked body they make it possible to go on."""
        connection = self._follow()
        self._between = connection.read(connection.requests.skip, n_bytes, tail, 0.0)

    def upstream_gap(self, n_bytes: int, at: float, tail: bytes = b"") -> None:
        """Bytes of the upstream, seen at ``at``, that were not kept, likewise."""
        connection = self._follow()
        self._between = connection.read(connection.responses.skip, n_bytes, tail, at)

    def give_up(self, reason: Reason) -> None:
        """Follow no longer, if it still was followed."""
        self._follow().give_up(reason)
        self.forget_heads()

    def closed(self, at: float, *, client_left: bool = False) -> None:
        """The connection is gone at ``at``: what is incomplete was broken off, by the client if it left."""
        if not self._between:
            self._follow().closed(at, client_left=client_left or self._client_left)
        self.forget_heads()

    def forget_heads(self) -> None:
        """Read the next heads anew, whatever the last ones were."""
        self._observer.requests.release(self._usual)
        self._observer.responses.release(self._usual_response)
        self._usual = self._usual_response = None
        self._usual_bytes = self._usual_response_bytes = b""

    def _find(self, heads: Heads[AnyHead], data: bytes, usual: AnyHead | None) -> AnyHead | None:
        """The head that ``data`` begins with; None if it does not, or cannot be read or held. One that is
        remembered is held in place of the ``usual`` one."""
        size = data.find(HEAD_END) + len(HEAD_END)
        head = heads.read(data[:size]) if size >= len(HEAD_END) else None
        if head is None:
            return None
        if head.text:
            # What is remembered is held by others as well, and costs nothing more.
            heads.hold(head)
            heads.release(usual)
            return head
        # One that nobody remembers is held for as long as this exchange lasts, if there is room.
        account = self._account
        if account.n_bytes + head.cost > account.max_bytes:
            return None
        account.n_bytes += head.cost
        self._fresh += head.cost
        return head

    def _complete(self, head: RequestHead, response: ResponseHead, response_body: bytes, at: float) -> None:
        """The exchange under way is complete."""
        observer, started = self._observer, self._started
        if head.wanted:
            account, body = self._account, self._body
            account.n_bytes -= head.length
            observer.exchanges.append(
                CompleteExchange(head, body, response, response_body, started, at, account.max_body_bytes)
            )
            self._body = self._response_body = b""
        else:
            observer.summaries.append(
                (head.method, head.path, response.status, started, at, head.length, response.length)
            )
        if self._fresh:
            self._account.n_bytes -= self._fresh
            self._fresh = 0
        self._head, self._missing, self._between = None, 0, True

    def _follow(self) -> Connection:
        """What follows the connection in every case, from where it stands."""
        connection = self._connection
        if connection is None:
            connection = self._connection = Connection(self._observer)
        head, response = self._head, self._response
        self._account.n_bytes -= self._fresh + len(self._body) + len(self._response_body)
        if head is not None:
            request = (head, self._body, self._started)
            begun = None if response is None else (response, self._response_body)
            connection.read(connection.go_on, request, begun, self._missing)
        self._head = self._response = None
        self._body = self._response_body = b""
        self._missing = self._fresh = 0
        self._between = False
        return connection

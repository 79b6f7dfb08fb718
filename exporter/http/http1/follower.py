"""A connection's two byte streams seen as HTTP/1 exchanges. It looks, it never alters.

Sans-IO: whoever has the bytes feeds them in, cut anywhere, in the order in which they came. What
cannot be followed gives the connection a :attr:`Http1Follower.reason`; its bytes are ignored from then on.
"""

from __future__ import annotations

from exporter.http.http1.bodies import TAIL_BYTES
from exporter.http.http1.connection import Connection
from exporter.http.http1.heads import RequestHead, ResponseHead
from exporter.http.http1.states import UNOBSERVED_REASONS, Reason, State
from exporter.http.http1.transactions import MAX_OUTSTANDING, CompleteExchange, ExchangeSummary, Observer

__all__ = [
    "MAX_OUTSTANDING",
    "TAIL_BYTES",
    "UNOBSERVED_REASONS",
    "ExchangeSummary",
    "Http1Follower",
    "Observer",
    "Reason",
]


class Http1Follower:
    """Follows one connection. No method raises, whatever the bytes are.

    Nearly all exchanges are alike: a request of a known length, on a connection where nothing else is
    under way, and then a response of a known length. Those are followed here, in as few steps as there
    can be; a :class:`Connection` has all others.
    """

    __slots__ = (
        "_account",
        "_between",
        "_body",
        "_client_left",
        "_connection",
        "_fresh",
        "_head",
        "_missing",
        "_observer",
        "_response",
        "_response_body",
        "_started",
        "_usual",
        "_usual_bytes",
        "_usual_response",
        "_usual_response_bytes",
    )

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._account = observer.account
        self._connection: Connection | None = None
        self._client_left = False
        self._between = True  # nothing is under way
        self._head: RequestHead | None = None
        self._response: ResponseHead | None = None
        self._body = b""  # as far as it is wanted and has come
        self._response_body = b""
        self._fresh = 0  # the cost of the heads of this exchange that nobody remembers
        self._missing = 0  # bytes of the message under way that are to come
        self._started = 0.0
        # The heads of the last messages, since the next ones most likely have the same: bytes that begin
        # like a complete head begin with that head.
        self._usual: RequestHead | None = None
        self._usual_bytes = b""
        self._usual_response: ResponseHead | None = None
        self._usual_response_bytes = b""

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
                head = self._request_head(data)
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
        connection.from_client(data, at)
        self._between = connection.state == "IDLE"

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
                    response = self._response_head(data)
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
            connection.from_upstream(data, at)
            self._between = connection.state == "IDLE"
        elif not self._between:
            self._follow().upstream_ended(at, client_left=self._client_left)

    def client_gap(self, n_bytes: int, tail: bytes = b"") -> None:
        """Bytes of the client that were not kept, but for up to ``TAIL_BYTES`` last ones, ``tail``.

        Inside a chunked body they make it possible to go on.
        """
        connection = self._follow()
        connection.client_gap(n_bytes, tail)
        self._between = connection.state == "IDLE"

    def upstream_gap(self, n_bytes: int, at: float, tail: bytes = b"") -> None:
        """Bytes of the upstream, seen at ``at``, that were not kept, likewise."""
        connection = self._follow()
        connection.upstream_gap(n_bytes, at, tail)
        self._between = connection.state == "IDLE"

    def give_up(self, reason: Reason) -> None:
        """Follow no longer, if it still was followed."""
        self._follow().give_up(reason)
        self.forget_heads()

    def closed(self, at: float, *, client_left: bool = False) -> None:
        """The connection is gone at ``at``: what is incomplete is over, and was broken off.

        ``client_left`` says that it was the client who broke it off.
        """
        if not self._between:
            self._follow().closed(at, client_left=client_left or self._client_left)
        self.forget_heads()

    def forget_heads(self) -> None:
        """Read the next heads anew, whatever the last ones were."""
        if self._usual is not None:
            self._account.release(self._usual)
        if self._usual_response is not None:
            self._account.release(self._usual_response)
        self._usual = self._usual_response = None
        self._usual_bytes = self._usual_response_bytes = b""

    def _request_head(self, data: bytes) -> RequestHead | None:
        """The head that ``data`` begins with; None if it does not, or cannot be read or held."""
        size = data.find(b"\r\n\r\n") + 4
        if size < 4:
            return None
        text = data[:size]
        heads = self._observer.heads
        head = heads.requests.known.get(text)
        if head is None:
            head = heads.parse_request(text)
            return head if head is not None and self._take(head.cost) else None
        # What is remembered is held by others as well, and costs nothing more.
        self._account.hold(head)
        if self._usual is not None:
            self._account.release(self._usual)
        self._usual, self._usual_bytes = head, head.text
        return head

    def _response_head(self, data: bytes) -> ResponseHead | None:
        """Likewise of a response."""
        size = data.find(b"\r\n\r\n") + 4
        if size < 4:
            return None
        text = data[:size]
        heads = self._observer.heads
        head = heads.responses.known.get(text)
        if head is None:
            head = heads.parse_response(text)
            return head if head is not None and self._take(head.cost) else None
        self._account.hold(head)
        if self._usual_response is not None:
            self._account.release(self._usual_response)
        self._usual_response, self._usual_response_bytes = head, head.text
        return head

    def _take(self, cost: int) -> bool:
        """Take a head that nobody remembers, for as long as this exchange lasts, if there is room."""
        account = self._account
        if account.n_bytes + cost > account.max_bytes:
            return False
        account.n_bytes += cost
        self._fresh += cost
        return True

    def _complete(self, head: RequestHead, response: ResponseHead, response_body: bytes, at: float) -> None:
        """The exchange under way is complete."""
        observer, started = self._observer, self._started
        if head.wanted:
            account = self._account
            account.n_bytes -= head.length
            observer.exchanges.append(
                CompleteExchange(
                    head, self._body, response, response_body, started, at, account.max_body_bytes
                )
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
        head, response, missing = self._head, self._response, self._missing
        self._account.n_bytes -= self._fresh + len(self._body) + len(self._response_body)
        self._fresh = 0
        if head is not None:
            connection.request(head, self._body, self._started, missing if response is None else 0)
            if response is not None:
                connection.response(response, self._response_body, missing)
        self._head = self._response = None
        self._body = self._response_body = b""
        self._missing = 0
        self._between = False
        return connection

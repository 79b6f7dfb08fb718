"""An exchange of which the request came in one piece, and the answer too."""

from __future__ import annotations

from exporter.http.exchange import Exchange
from exporter.http.http1.heads import RequestHead, ResponseHead


class WholeExchange(Exchange):
    """An :class:`Exchange` that is complete from the start; made in one call, since most are.

    Parameters
    ----------
    head, body, answer, answer_body
        The request and its answer; neither body is longer than ``max_body_bytes``.
    started, ended
        When they passed, in seconds since the epoch.
    max_body_bytes
        As of :class:`Exchange`.
    """

    __slots__ = ()

    def __init__(
        self,
        head: RequestHead,
        body: bytes,
        answer: ResponseHead,
        answer_body: bytes,
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
        self.status = answer.status
        self.response_headers = answer.headers
        self.request_truncated = self.response_truncated = self.aborted = False
        self.notes = None
        self.embeddings = None
        self.rows_left_out = 0
        self.finished = True
        self._request_chunks = body
        self._request_size = head.length
        self._response_chunks = answer_body
        self._response_size = answer.length

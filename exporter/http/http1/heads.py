"""The heads of HTTP/1 messages, read by llhttp, and what they say about the body that follows.

A client sends almost the same head again and again, and so does a server: parsed heads are kept by
their bytes, since all that is derived here depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

import httptools

from exporter.http.exchange import Headers
from exporter.http.http1.states import Account

MAX_HEAD_BYTES = 64 * 1024
"""A longer head is taken for something that is not HTTP/1."""
HEAD_END = b"\r\n\r\n"
_MARKS_PER_HEAD = 8
# What a head takes once it is parsed: many short fields take thirty times their bytes.
_HEAD_BYTES, _FIELD_BYTES = 512, 176

CHUNKED = -1
UNTIL_CLOSE = -2

Select = Callable[[str, str], bool]
"""(method, path) to whether the exchange's headers and bodies are wanted."""

_VERSIONS = ("1.0", "1.1")
_MAX_DIGITS = 18


@dataclass(slots=True, eq=False)
class Head:
    """What the heads of requests and responses have in common. Sizes are in bytes.

    ``length`` is the body's, or ``CHUNKED`` or ``UNTIL_CLOSE``; ``size`` is the head's own, and ``full_size``
    that of head and body, or -1 where more than the length decides on what follows. ``cost`` is what it
    takes in memory, once for all its ``holders``, and ``text`` its own bytes where it is remembered.
    """

    headers: Headers
    length: int
    size: int
    full_size: int
    cost: int
    holders: int = field(default=0, init=False)
    text: bytes = field(default=b"", init=False)


@dataclass(slots=True, eq=False)
class RequestHead(Head):
    """A request's head; its ``headers`` are empty unless it is ``wanted``.

    ``may_switch`` marks a request after which the connection may speak another protocol (Upgrade,
    CONNECT), ``last`` one after which the connection takes no other.
    """

    method: str
    path: str
    query: bytes
    may_switch: bool
    last: bool
    wanted: bool


@dataclass(slots=True, eq=False)
class ResponseHead(Head):
    """A response's head."""

    status: int


AnyHead = TypeVar("AnyHead", bound=Head)


class Heads(Generic[AnyHead]):
    """Reads heads with ``parse``, for the connections of one thread, and remembers by their bytes those that
    come more than once, at most ``max_items`` and ``max_bytes``, at their cost.

    Of heads that come only once, like those with a number of their own, nothing is kept but a mark: they
    neither take memory nor push out others, and one dearer than a sixteenth of ``max_bytes`` would cost the
    place of many. When it is full, all is forgotten; what is in use returns.
    """

    max_items = 512
    max_bytes = 2 * 1024 * 1024

    def __init__(self, parse: Callable[[bytes], AnyHead | None], account: Account) -> None:
        self.known: dict[bytes, AnyHead] = {}
        self._parse = parse
        self._account = account
        self._n_bytes = 0
        self._came: set[int] = set()

    def read(self, text: bytes) -> AnyHead | None:
        """Read a head, from its first byte to the empty line; None if it is not HTTP/1."""
        head = self.known.get(text)
        if head is not None:
            return head
        head, mark = self._parse(text), hash(text)
        if head is None:
            return None
        if mark not in self._came:
            if len(self._came) >= _MARKS_PER_HEAD * self.max_items:
                self._came.clear()
            self._came.add(mark)
            return head
        account, cost = self._account, head.cost + len(text)
        # What only saves time may take a quarter of the room.
        if cost <= self.max_bytes // 16 and account.n_bytes + cost <= account.max_bytes // 4:
            if len(self.known) >= self.max_items or self._n_bytes + cost > self.max_bytes:
                self.clear()
            head.text, head.cost = text, cost
            self.hold(head)
            self.known[text] = head
            self._n_bytes += cost
        return head

    def hold(self, head: AnyHead) -> None:
        """Hold a head that is remembered, and that others hold too."""
        if not head.holders:
            self._account.n_bytes += head.cost
        head.holders += 1

    def release(self, head: AnyHead | None) -> None:
        """Hold it no longer, if there is one."""
        if head is not None:
            head.holders -= 1
            if not head.holders:
                self._account.n_bytes -= head.cost

    def clear(self) -> None:
        """Remember nothing: read every head anew."""
        for head in self.known.values():
            self.release(head)
        self.known.clear()
        self._n_bytes = 0


@dataclass(slots=True, eq=False)
class _Collector:
    """What llhttp calls back with."""

    fields: list[tuple[bytes, bytes]]
    parser: httptools.HttpRequestParser | None = None
    target: bytes = b""
    complete: bool = False
    keep_alive: bool = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
        if self.parser is not None:
            # llhttp forgets the connection header with the end of the message, so it is asked here.
            self.keep_alive = self.parser.should_keep_alive()
            self.parser = None  # else the two would keep each other alive


def parse_request(select: Select, head: bytes) -> RequestHead | None:
    """Read a request's head; None if it is not HTTP/1."""
    collector = _Collector([])
    parser = collector.parser = httptools.HttpRequestParser(collector)
    switch = False
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        switch = True
    except httptools.HttpParserError:
        return None
    if not collector.complete or parser.get_http_version() not in _VERSIONS:
        return None
    fields = collector.fields
    method = parser.get_method().decode("latin-1")
    length = _length(fields, default=0)
    target = _split_target(method, collector.target)
    if length is None or target is None:
        return None
    path, query = target
    connect = method == "CONNECT"
    may_switch = switch or connect or parser.should_upgrade()
    last = not collector.keep_alive
    wanted = not connect and select(method, path)
    size, headers = len(head), fields if wanted else ()
    is_plain = length >= 0 and not may_switch and not last and method != "HEAD"
    full_size = size + length if is_plain else -1
    cost = _HEAD_BYTES + (size + _FIELD_BYTES * len(fields) if wanted else 4 * len(path) + len(query))
    length = 0 if connect else length
    return RequestHead(headers, length, size, full_size, cost, method, path, query, may_switch, last, wanted)


def parse_response(head: bytes) -> ResponseHead | None:
    """Read a response's head; None if it is not HTTP/1."""
    collector = _Collector([])
    parser = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    length = _length(collector.fields, default=UNTIL_CLOSE)
    status: int = parser.get_status_code()
    if not collector.complete or length is None or status < 100:
        return None
    is_plain = length >= 0 and status >= 200 and status not in (204, 304)
    size, fields = len(head), collector.fields
    cost = _HEAD_BYTES + size + _FIELD_BYTES * len(fields)
    return ResponseHead(fields, length, size, size + length if is_plain else -1, cost, status)


def _length(fields: list[tuple[bytes, bytes]], *, default: int) -> int | None:
    """The body's length by RFC 9112, section 6.3, without what depends on method and status."""
    length: int | None = default
    coding = b""
    for name, value in fields:
        if name == b"content-length":
            text = value.strip()
            length = int(text) if text.isdigit() and len(text) <= _MAX_DIGITS else None
        elif name == b"transfer-encoding":
            coding = value.rpartition(b",")[2].strip().lower()
    if not coding:
        return length
    if coding == b"chunked":
        return CHUNKED
    return UNTIL_CLOSE if default == UNTIL_CLOSE else None


def _split_target(method: str, target: bytes) -> tuple[str, bytes] | None:
    if method == "CONNECT" or target == b"*":
        return target.decode("latin-1"), b""
    if not target.startswith(b"/"):
        try:
            parts = urlsplit(target.decode("latin-1"))
        except ValueError:
            return None
        return unquote(parts.path or "/"), parts.query.encode("latin-1")
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return unquote(path.decode("latin-1")) if b"%" in path else path.decode("latin-1"), query

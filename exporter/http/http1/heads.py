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
from exporter.http.http1.account import Account, Held

MAX_HEAD_BYTES = 64 * 1024
"""A longer head is taken for something that is not HTTP/1."""
_MAX_KNOWN_HEADS = 512
_MAX_KNOWN_BYTES = 2 * 1024 * 1024
_MARKS_PER_HEAD = 8
# What a head takes once it is parsed: many short fields take thirty times their bytes.
_HEAD_BYTES, _FIELD_BYTES = 512, 176

CHUNKED = -1
UNTIL_CLOSE = -2

Select = Callable[[str, str], bool]
"""(method, path) to whether the exchange's headers and bodies are wanted."""

_VERSIONS = ("1.0", "1.1")
_END = b"\r\n\r\n"
_MAX_DIGITS = 18


@dataclass(slots=True, eq=False)
class RequestHead:
    """A request's head. ``length`` is the body's, in bytes, or ``CHUNKED``.

    ``may_switch`` marks a request after which the connection may speak another protocol (Upgrade,
    CONNECT), ``last`` one after which the connection takes no other. ``headers`` are empty unless it is
    ``wanted``. ``size`` is the head's own, in bytes, and ``full_size`` that of head and body, or -1 where
    more than the length decides on what follows. ``cost`` is what it takes in memory, in bytes, once for
    all its ``holders``, and ``text`` its own bytes where it is remembered.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    length: int
    may_switch: bool
    last: bool
    wanted: bool
    size: int
    full_size: int
    cost: int
    holders: int = field(default=0, init=False)
    text: bytes = field(default=b"", init=False)


@dataclass(slots=True, eq=False)
class ResponseHead:
    """A response's head. ``length`` is the body's in bytes, or ``CHUNKED`` or ``UNTIL_CLOSE``.

    ``size``, ``full_size``, ``cost``, ``holders`` and ``text`` are as of :class:`RequestHead`.
    """

    status: int
    headers: Headers
    length: int
    size: int
    full_size: int
    cost: int
    holders: int = field(default=0, init=False)
    text: bytes = field(default=b"", init=False)


class IncompleteHead:
    """The start of a head whose end has not come yet."""

    __slots__ = ("start",)

    def __init__(self) -> None:
        self.start = bytearray()

    def feed(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """The head that begins or goes on in ``data`` at ``position``, None if it does not end there, and
        the place behind it."""
        start = self.start
        if not start:
            stop = data.find(_END, position) + len(_END)
            if stop >= len(_END):
                return data[position:stop], stop
        before = len(start)
        start += data[position:] if position else data
        stop = start.find(_END, max(0, before - len(_END) + 1)) + len(_END)
        if stop < len(_END):
            return None, len(data)
        self.start = bytearray()
        return bytes(start[:stop]), position + stop - before


class _Collector:
    """What llhttp calls back with."""

    __slots__ = ("complete", "fields", "keep_alive", "parser", "target")

    def __init__(self) -> None:
        self.parser: httptools.HttpRequestParser | None = None
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False

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


Head = TypeVar("Head", bound=Held)


class KnownHeads(Generic[Head]):
    """Remembers parsed heads by their bytes, from the second time on, within bounds.

    Of heads that come only once, like those with a number of their own, nothing is kept but a mark: they
    neither take memory nor push out others. When it is full, all is forgotten; what is in use returns.

    Parameters
    ----------
    max_items, max_bytes
        Of the heads, at their cost. One dearer than a sixteenth of ``max_bytes`` is not remembered, as it
        would cost the place of many.

    Attributes
    ----------
    known
        What is remembered: always the same dictionary, to look in without a call in between.
    """

    def __init__(
        self, account: Account, max_items: int = _MAX_KNOWN_HEADS, max_bytes: int = _MAX_KNOWN_BYTES
    ) -> None:
        self.known: dict[bytes, Head] = {}
        self._account = account
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._came: set[int] = set()

    def add(self, text: bytes, head: Head) -> None:
        """``text``, which was not remembered, was parsed."""
        mark = hash(text)
        if mark not in self._came:
            if len(self._came) >= _MARKS_PER_HEAD * self._max_items:
                self._came.clear()
            self._came.add(mark)
            return
        cost = head.cost + len(text)
        if cost <= self._max_bytes // 16 and self._account.has_room_for_habit(cost):
            if len(self.known) >= self._max_items or self._n_bytes + cost > self._max_bytes:
                self.clear()
            head.text, head.cost = text, cost
            self._account.hold(head)
            self.known[text] = head
            self._n_bytes += cost

    def clear(self) -> None:
        """Remember nothing."""
        for head in self.known.values():
            self._account.release(head)
        self.known.clear()
        self._n_bytes = 0


class Heads:
    """Parsed heads, shared by the connections of one thread. None stands for what is not HTTP/1."""

    def __init__(self, select: Select, account: Account) -> None:
        self._select = select
        self.requests: KnownHeads[RequestHead] = KnownHeads(account)
        self.responses: KnownHeads[ResponseHead] = KnownHeads(account)

    def request(self, text: bytes) -> RequestHead | None:
        """Read a request's head, from its first byte to the empty line."""
        return self.requests.known.get(text) or self.parse_request(text)

    def response(self, text: bytes) -> ResponseHead | None:
        """Read a response's head, from its first byte to the empty line."""
        return self.responses.known.get(text) or self.parse_response(text)

    def parse_request(self, text: bytes) -> RequestHead | None:
        """Read a request's head that is not known yet."""
        head = _parse_request(text, self._select)
        if head is not None:
            self.requests.add(text, head)
        return head

    def parse_response(self, text: bytes) -> ResponseHead | None:
        """Read a response's head that is not known yet."""
        head = _parse_response(text)
        if head is not None:
            self.responses.add(text, head)
        return head

    def forget(self) -> None:
        """Read every head anew from now on, since ``select`` would answer otherwise than before."""
        self.requests.clear()


def _parse_request(head: bytes, select: Select) -> RequestHead | None:
    collector = _Collector()
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
    is_plain = length >= 0 and not may_switch and not last and method != "HEAD"
    wanted = not connect and select(method, path)
    return RequestHead(
        method,
        path,
        query,
        fields if wanted else (),
        0 if connect else length,
        may_switch,
        last,
        wanted,
        len(head),
        len(head) + length if is_plain else -1,
        _HEAD_BYTES + (len(head) + _FIELD_BYTES * len(fields) if wanted else 4 * len(path) + len(query)),
    )


def _parse_response(head: bytes) -> ResponseHead | None:
    collector = _Collector()
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
    return ResponseHead(status, fields, length, size, size + length if is_plain else -1, cost)


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

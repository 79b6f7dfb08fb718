"""The heads of HTTP/1 messages, read by llhttp, and what they say about the body that follows.

A client sends almost the same head again and again, and so does a server: parsed heads are kept by
their bytes, since all that is derived here depends on nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httptools

from exporter.http.exchange import Headers
from exporter.http.http1.recent import Recent

MAX_HEAD_BYTES = 64 * 1024
"""A longer head is taken for something that is not HTTP/1."""
_MAX_KEPT_HEADS = 512
# A head of many short fields takes thirty times its bytes once it is read.
_MAX_KEPT_BYTES = 256 * 1024

CHUNKED = -1
UNTIL_CLOSE = -2

Select = Callable[[str, str], bool]
"""(method, path) to whether the exchange's headers and bodies are wanted."""

_VERSIONS = ("1.0", "1.1")
_DIGITS = re.compile(rb"[0-9]{1,18}")


@dataclass(slots=True, eq=False)
class RequestHead:
    """A request's head. ``length`` is the body's, in bytes, or ``CHUNKED``.

    ``may_switch`` marks a request after which the connection may speak another protocol (Upgrade,
    CONNECT), ``last`` one after which the connection takes no other. ``size`` is the head's own, in
    bytes, and ``whole_size`` that of head and body, or -1 where more than the length decides on what
    follows.
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
    whole_size: int


@dataclass(slots=True, eq=False)
class ResponseHead:
    """An answer's head. ``length`` is the body's in bytes, or ``CHUNKED`` or ``UNTIL_CLOSE``.

    ``size`` and ``whole_size`` are as of :class:`RequestHead`.
    """

    status: int
    headers: Headers
    length: int
    size: int
    whole_size: int


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


class Heads:
    """Parsed heads, shared by the connections of one thread. None stands for what is not HTTP/1."""

    def __init__(self, select: Select) -> None:
        self._select = select
        self.requests: Recent[RequestHead] = Recent(_MAX_KEPT_HEADS, _MAX_KEPT_BYTES)
        self.responses: Recent[ResponseHead] = Recent(_MAX_KEPT_HEADS, _MAX_KEPT_BYTES)

    def request(self, head: bytes) -> RequestHead | None:
        """Read a request's head, from its first byte to the empty line."""
        found = self.requests.known.get(head)
        if found is None:
            found = _parse_request(head, self._select)
            if found is not None:
                self.requests.add(head, found)
        return found

    def response(self, head: bytes) -> ResponseHead | None:
        """Read an answer's head, from its first byte to the empty line."""
        found = self.responses.known.get(head)
        if found is None:
            found = _parse_response(head)
            if found is not None:
                self.responses.add(head, found)
        return found

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
    return RequestHead(
        method,
        path,
        query,
        fields,
        0 if connect else length,
        may_switch,
        last,
        not connect and select(method, path),
        len(head),
        len(head) + length if is_plain else -1,
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
    size = len(head)
    return ResponseHead(status, collector.fields, length, size, size + length if is_plain else -1)


def _length(fields: list[tuple[bytes, bytes]], *, default: int) -> int | None:
    """The body's length by RFC 9112, section 6.3, without what depends on method and status."""
    length: int | None = default
    coding = b""
    for name, value in fields:
        if name == b"content-length":
            text = value.strip()
            length = int(text) if _DIGITS.fullmatch(text) else None
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

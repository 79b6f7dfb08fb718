"""Bodies as they come: of which type, how large, how many at once, how slow; and what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import orjson
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect, Request

from exporter.decoders.base import decoded
from exporter.errors import IngestError, PayloadError
from exporter.http.exchange import Headers, header
from exporter.receivers.ingest.validation import validated

_AT_ONCE = 4
# Millions of empty lists are a few megabytes of JSON; as values they take hundreds, and the interpreter for
# seconds. A picture of 224 x 224 pixels has 50,000 lists.
_MAX_BRACKETS = 500_000

T = TypeVar("T")


def media_type(headers: Headers) -> bytes:
    """The type that a body is declared as, in lower case and without parameters."""
    return (header(headers, b"content-type") or b"").partition(b";")[0].strip().lower()


def check_content_type(headers: Headers) -> None:
    """Refuse with 415 what is not declared as JSON, nor as an event with its attributes in headers.

    A web page can have a browser post forms and plain text to any address, but neither JSON nor headers
    of its own unless that address agrees, which this API never does.
    """
    given = media_type(headers)
    is_json = given == b"application/json" or (given.startswith(b"application/") and given.endswith(b"+json"))
    if not is_json and header(headers, b"ce-type") is None:
        shown = repr(given[:64].decode("latin-1")) if given else "nothing"
        rule = "it must be application/json, or that of a CloudEvent; send the header so"
        raise IngestError(415, "content-type", f"{shown} is not valid: {rule}")


class Bodies:
    """Receives bodies of up to ``max_bytes``; all that are under way or worked on hold four times as much."""

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._held = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request; it counts as held until the block is left.

        400 if it breaks off, 408 if it takes too long, 413 if it is too large, 429 if too many are held.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._max_bytes):
            raise self._too_large()
        # One buffer: a body can come in millions of pieces.
        body = bytearray()
        try:
            try:
                await asyncio.wait_for(self._receive(request, body), self._timeout_seconds)
            except asyncio.TimeoutError:
                rule = f"the body took longer than {self._timeout_seconds:g} seconds; send less at a time"
                raise IngestError(408, "", rule) from None
            except ClientDisconnect:
                raise IngestError(400, "", "the request broke off before its end; send it again") from None
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        async for chunk in request.stream():
            if len(body) + len(chunk) > self._max_bytes:
                raise self._too_large()
            if self._held + len(chunk) > _AT_ONCE * self._max_bytes:
                raise IngestError(429, "", "too many bodies come at once; send this one again later")
            self._held += len(chunk)
            body += chunk

    def _too_large(self) -> IngestError:
        rule = f"the body is longer than ingest.max_body_bytes ({self._max_bytes}); send less at a time"
        return IngestError(413, "", rule)


def plain_body(body: bytes, headers: Headers, max_bytes: int) -> bytes:
    """A body with its content encoding undone; 413 beyond ``max_bytes``, 415 for one that cannot be."""
    try:
        return decoded(body, headers, max_bytes)
    except PayloadError as error:
        raise IngestError(413 if error.reason == "body_too_large" else 415, "", str(error)) from None


def read(adapter: TypeAdapter[T], body: bytes, headers: Headers, max_bytes: int) -> T:
    """What the JSON document in a body says, held to a model.

    413 for too many lists and objects, 400 for what is not JSON (NaN and nesting beyond 1024 levels are not).
    """
    plain = plain_body(body, headers, max_bytes)
    if (n := plain.count(b"[") + plain.count(b"{")) > _MAX_BRACKETS:
        rule = f"the body has {n} opening brackets, and at most {_MAX_BRACKETS} are read; send less at a time"
        raise IngestError(413, "", rule)
    try:
        document = orjson.loads(plain)
    except orjson.JSONDecodeError as error:
        raise IngestError(400, "", f"body is not JSON: {error}; send JSON in UTF-8") from None
    return validated(adapter, document)

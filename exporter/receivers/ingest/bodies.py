"""Bodies as they come: of which type, how large, how many at once, and how long one may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from exporter.errors import IngestError
from exporter.http.exchange import Headers, header

_AT_ONCE = 4


def check_content_type(headers: Headers) -> None:
    """Refuse what is not declared as JSON, nor as an event with its attributes in headers.

    A web page can have a browser post forms and plain text to any address, but neither JSON nor headers
    of its own unless that address agrees, which this API never does.

    Raises
    ------
    IngestError
        With status 415.
    """
    given = header(headers, b"content-type") or b""
    content_type = given.partition(b";")[0].strip().lower()
    is_json = content_type == b"application/json" or (
        content_type.startswith(b"application/") and content_type.endswith(b"+json")
    )
    if not is_json and header(headers, b"ce-type") is None:
        shown = repr(given[:64].decode("latin-1")) if given else "nothing"
        raise IngestError(
            415,
            "content-type",
            f"{shown} is not valid: it must be application/json, or that of a CloudEvent; send the header so",
        )


class Bodies:
    """Receives bodies, all of them together in bounded memory.

    Parameters
    ----------
    max_bytes
        The most that one may hold; all that are being received or worked on may hold four times as much.
    timeout_seconds
        How long one may take to come.
    """

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._held = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request; it counts as held until the block is left.

        Raises
        ------
        IngestError
            400 if it breaks off, 408 if it takes too long, 413 if it is too large, 429 if too many others
            are held.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._max_bytes):
            raise self._too_large()
        # One buffer: a body can come in millions of pieces.
        body = bytearray()
        try:
            await self._receive_in_time(request, body)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _receive_in_time(self, request: Request, body: bytearray) -> None:
        try:
            await asyncio.wait_for(self._receive(request, body), self._timeout_seconds)
        except asyncio.TimeoutError:
            rule = f"the body took longer than {self._timeout_seconds:g} seconds; send less at a time"
            raise IngestError(408, "", rule) from None
        except ClientDisconnect:
            raise IngestError(400, "", "the request broke off before its end; send it again") from None

    async def _receive(self, request: Request, body: bytearray) -> None:
        async for chunk in request.stream():
            if len(body) + len(chunk) > self._max_bytes:
                raise self._too_large()
            if self._held + len(chunk) > _AT_ONCE * self._max_bytes:
                raise IngestError(429, "", "too many bodies come at once; send this one again later")
            self._held += len(chunk)
            body += chunk

    def _too_large(self) -> IngestError:
        limit = self._max_bytes
        return IngestError(
            413, "", f"the body is longer than ingest.max_body_bytes ({limit}); send less at a time"
        )

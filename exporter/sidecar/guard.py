"""Who may ask the admin application, and how much may come at once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBES = ("/-/healthy", "/-/ready")
_BODY_SECONDS = 30.0
_SMALL_BODY_BYTES = 64 * 1024
_LARGE_BODIES = 8
# What a page in a browser may send to any address without asking it first.
_OF_ANY_PAGE = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


class Guard:
    """An ASGI middleware.

    Parameters
    ----------
    token
        If given, everything but the probes needs ``Authorization: Bearer TOKEN``.
    body_seconds
        For the body of a request to arrive; then it is refused.
    large_bodies
        Bodies above 64 KiB that are taken in at a time; others wait, unread.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None = None,
        body_seconds: float = _BODY_SECONDS,
        large_bodies: int = _LARGE_BODIES,
    ) -> None:
        self._app = app
        self._digest = None if token is None else hashlib.sha256(token.encode()).digest()
        self._body_seconds = body_seconds
        self._room = asyncio.Semaphore(large_bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._authorized(headers.get("authorization", "")):
            refused = PlainTextResponse(
                "authorization: needs Bearer and the admin token\n", 401, {"www-authenticate": "Bearer"}
            )
            await refused(scope, receive, send)
        elif scope["method"] == "POST" and _may_be_any_pages(headers):
            refused = PlainTextResponse(
                "content-type: any web page could send this; use application/json or a CloudEvents type\n",
                415,
            )
            await refused(scope, receive, send)
        else:
            body = _Body(receive, self._room, self._body_seconds)
            try:
                await self._app(scope, body.receive, send)
            finally:
                body.release()

    def _authorized(self, authorization: str) -> bool:
        if self._digest is None:
            return True
        scheme, _, given = authorization.partition(" ")
        # Digests have one length, so that the comparison's time says nothing of the token's.
        digest = hashlib.sha256(given.strip().encode("latin-1")).digest()
        return hmac.compare_digest(digest, self._digest) and scheme.lower() == "bearer"


class _Body:
    """The body of one request, as it comes."""

    def __init__(self, receive: Receive, room: asyncio.Semaphore, seconds: float) -> None:
        self._receive = receive
        self._room = room
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._n_bytes = 0
        self._holds_room = False
        self._complete = False

    async def receive(self) -> Message:
        """The next part of it; what comes after its end may take any time."""
        if self._complete:
            return await self._receive()
        remaining = self._deadline - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(self._next(), remaining)
        except asyncio.TimeoutError:
            raise HTTPException(
                408, "the body did not arrive in time; send less at a time", {"connection": "close"}
            ) from None

    async def _next(self) -> Message:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._n_bytes > _SMALL_BODY_BYTES and not self._holds_room:
            await self._room.acquire()
            self._holds_room = True
        return message

    def release(self) -> None:
        """The request is over."""
        if self._holds_room:
            self._room.release()


def _may_be_any_pages(headers: Headers) -> bool:
    """Whether a browser would send a request with these headers for a page of any origin."""
    # A header of its own makes a browser ask first, and nobody here says yes.
    if "ce-specversion" in headers:
        return False
    return headers.get("content-type", "").partition(";")[0].strip().lower() in _OF_ANY_PAGE

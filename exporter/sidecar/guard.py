"""Who may look at the pages of the admin application."""

from __future__ import annotations

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PROBES = ("/-/healthy", "/-/ready")


class Guard:
    """An ASGI middleware. What is posted is the ingest API's, which asks for the token itself, and counts.

    Parameters
    ----------
    token
        If given, everything but the probes needs ``Authorization: Bearer TOKEN``.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app = app
        self._digest = None if token is None else hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        app = self._app
        if scope["type"] == "http" and scope["method"] != "POST" and scope["path"] not in PROBES:
            authorization = Headers(scope=scope).get("authorization", "")
            if self._digest is not None and not _shows(authorization, self._digest):
                text = "authorization: it must be Bearer and admin.token; send both\n"
                app = PlainTextResponse(text, 401, {"www-authenticate": "Bearer"})
        await app(scope, receive, send)


def _shows(authorization: str, token_digest: bytes) -> bool:
    scheme, _, given = authorization.partition(" ")
    # Digests have one length, so that the comparison's time says nothing of the token's.
    digest = hashlib.sha256(given.strip().encode("latin-1")).digest()
    return hmac.compare_digest(digest, token_digest) and scheme.lower() == "bearer"

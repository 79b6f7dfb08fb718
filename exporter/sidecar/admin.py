"""The admin application: ``/``, ``/metrics``, ``/api/v1/status``, the probes, and what is mounted beside.

The data plane answers probes itself, so that they tell of it; here they are answered where they come
behind another request on one connection.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from importlib.resources import files
from string import Template

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.receivers.ingest.app import IngestApp
from exporter.runtime import Runtime
from exporter.sidecar.findings_page import findings_page, models_met
from exporter.sidecar.messages import PROBES
from exporter.version import __version__


def admin_app(
    runtime: Runtime, *, readiness: Callable[[], tuple[bool, str]], ingest: IngestApp | None = None
) -> Starlette:
    """The ASGI application of the admin listener; ``readiness``: whether traffic can be served, and why."""
    template = Template((files("exporter.sidecar") / "pages" / "index.html").read_text(encoding="utf-8"))

    def index(_: Request) -> Response:
        status = runtime.status()
        filled = {"models": models_met(status), "found": findings_page(status)}
        return HTMLResponse(template.substitute(filled, version=__version__))

    def status(_: Request) -> Response:
        return JSONResponse(runtime.status())

    def metrics(request: Request) -> Response:
        content_type, body = runtime.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    def probe(request: Request) -> Response:
        able, why = (True, "healthy") if request.url.path == PROBES[0] else readiness()
        return PlainTextResponse(f"{why}\n", 200 if able else 503)

    routes = [Route("/", index), Route("/metrics", metrics), Route("/api/v1/status", status)]
    routes += [Route(path, probe) for path in PROBES]
    if ingest is not None:
        routes += ingest.routes
    token = runtime.config.admin.token
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)] if token is not None else [])


class Guard:
    """An ASGI middleware: everything but the probes needs ``Authorization: Bearer TOKEN``.

    What is posted is the ingest API's, which asks for the token itself, and counts.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._digest = hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        app = self._app
        if scope["type"] == "http" and scope["method"] != "POST" and scope["path"] not in PROBES:
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            # Digests have one length, so that the comparison's time says nothing of the token's.
            digest = hashlib.sha256(given.strip().encode("latin-1")).digest()
            if not (hmac.compare_digest(digest, self._digest) and scheme.lower() == "bearer"):
                text = "authorization: it must be Bearer and admin.token; send both\n"
                app = PlainTextResponse(text, 401, {"www-authenticate": "Bearer"})
        await app(scope, receive, send)

"""The admin application: ``/``, ``/metrics``, the probes, and what is mounted beside.

The data plane answers probes itself, so that they tell of it; here they are answered where they come
behind another request on one connection.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from importlib.resources import files
from string import Template

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter.receivers.ingest.app import IngestApp
from exporter.runtime import Runtime
from exporter.sidecar.guard import PROBES, Guard
from exporter.version import __version__

Readiness = Callable[[], tuple[bool, str]]


def admin_app(runtime: Runtime, *, readiness: Readiness, ingest: IngestApp | None = None) -> Starlette:
    """The ASGI application of the admin listener.

    Parameters
    ----------
    runtime
        Whose metrics are shown, and whose configuration says what token is asked for.
    readiness
        Whether traffic can be served, and why (not); asked at each ``/-/ready``.
    ingest
        The ingest API, if it is on.
    """
    template = Template((files("exporter.sidecar") / "pages" / "index.html").read_text(encoding="utf-8"))

    def index(_: Request) -> Response:
        return HTMLResponse(template.substitute(version=__version__, model=html.escape(runtime.config.model)))

    def metrics(request: Request) -> Response:
        content_type, body = runtime.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    def ready(_: Request) -> Response:
        is_ready, why = readiness()
        return PlainTextResponse(f"{why}\n", status_code=200 if is_ready else 503)

    routes = [
        Route("/", index),
        Route("/metrics", metrics),
        *(Route(path, answer) for path, answer in zip(PROBES, (healthy, ready), strict=True)),
    ]
    if ingest is not None:
        routes += ingest.routes
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=runtime.config.admin.token)])

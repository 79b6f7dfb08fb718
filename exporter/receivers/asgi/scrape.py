"""The scrape route of an application: one of ours, or its own, kept; and whether it shows our metrics."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.errors import ConfigError, PayloadError
from exporter.http.encodings import decode
from exporter.receivers.asgi.existing import routes_at, showing
from exporter.receivers.asgi.middleware import ASGIApp, Message, Receive, Scope, Send, within

log = logging.getLogger("exporter.hook")

Render = Callable[[str], tuple[str, bytes]]

_OURS = b"inference_exporter_build_info"
_MAX_PAGE_BYTES = 64 * 1024 * 1024


def expose_metrics(
    application: Any, endpoint: str, registry: CollectorRegistry, render: Render, *, shared: bool
) -> None:
    """See to it that GET at ``endpoint`` shows ``registry``: by a route of the application's, or by ours.

    A route of the application's that comes later takes the place of ours. What is shown in the end is looked
    at when somebody scrapes, and logged if our metrics are missing.

    Parameters
    ----------
    shared
        Whether processes share their values in a folder.

    Raises
    ------
    ConfigError
        If the application has a route there that shows another registry.
    """
    path = endpoint.rstrip("/")
    own = next(routes_at(application.routes, path), None)
    if own is None:
        _add_route(application, endpoint, render)
    else:
        shows = showing(own, registry, shared=shared)
        if shows == "hidden":
            raise ConfigError(
                f"expose: the route at {endpoint} that the application has already shows another registry "
                f"than this exporter's; {_advice(endpoint)}"
            )
        if isinstance(own, _ScrapeRoute):  # another exporter's, on the same registry
            return
        log.info(
            "the application has a route of its own at %s, which is kept; %s",
            endpoint,
            "it shows this exporter's metrics too"
            if shows == "shown"
            else "whether it shows this exporter's metrics too, the first scrape will tell",
        )
    if application.middleware_stack is None:
        application.add_middleware(ScrapeCheck, path=path, advice=_advice(endpoint))


def _advice(endpoint: str) -> str:
    elsewhere = "/inference-metrics" if endpoint != "/inference-metrics" else "/exporter-metrics"
    return (
        "pass InferenceExporter(..., registry=) the one that is shown there (without registry=, it is "
        f'prometheus_client.REGISTRY), or show these metrics elsewhere: expose(app, endpoint="{elsewhere}")'
    )


class ScrapeCheck:
    """Looks, once, at what the application says when it is scraped: whether our metrics are in it.

    Whoever answers: a route that was added after ours, one before it that matches every path, a handler whose
    registry could not be found.
    """

    def __init__(self, app: ASGIApp, *, path: str, advice: str) -> None:
        self._app = app
        self._path = path
        self._advice = advice
        self._done = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one connection scope."""
        if self._done or scope["type"] != "http" or not self._is_scrape(scope):
            return self._app(scope, receive, send)
        return self._look(scope, receive, send)

    def _is_scrape(self, scope: Scope) -> bool:
        path = scope["path"].rstrip("/")
        return (
            path.endswith(self._path)
            and within(scope.get("root_path", ""), path) == self._path
            and scope["method"] == "GET"
            # Some handlers show a part, if they are asked to.
            and not scope.get("query_string")
        )

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        page: list[bytes] = []
        size = 0

        async def look_and_send(message: Message) -> None:
            nonlocal start, size
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body" and size <= _MAX_PAGE_BYTES:
                page.append(message.get("body", b""))
                size += len(page[-1])
            await send(message)

        await self._app(scope, receive, look_and_send)
        # A login that is missing, for one, says nothing about what is behind it.
        if start.get("status") == 200 and size <= _MAX_PAGE_BYTES and not self._done:
            self._done = True
            self._judge(list(start.get("headers", ())), b"".join(page))

    def _judge(self, headers: Sequence[tuple[bytes, bytes]], page: bytes) -> None:
        encodings = [value for name, value in headers if name.lower() == b"content-encoding"]
        try:
            shown = _OURS in decode(page, b",".join(encodings), _MAX_PAGE_BYTES)
        except PayloadError:
            return
        if not shown:
            log.error(
                "GET %s of the application does not show this exporter's metrics, since something else than "
                "its route answers there; %s",
                self._path,
                self._advice,
            )


class _ScrapeRoute:
    """A route that matches only as long as no other one is declared at its path, before it or after it.

    The application's own may be added after ours, and ask for a login that ours does not know.
    """


def _giving_way(application: Any, route_class: Any) -> type:
    from starlette.routing import Match

    def matches(self: Any, scope: Scope) -> tuple[Any, Scope]:
        match, child_scope = route_class.matches(self, scope)
        if match is not Match.NONE:
            there = routes_at(application.routes, self.path.rstrip("/"))
            if any(route is not self for route in there):
                return Match.NONE, {}
        return match, child_scope

    return type("ScrapeRoute", (_ScrapeRoute, route_class), {"matches": matches})


def _add_route(application: Any, endpoint: str, render: Render) -> None:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    def metrics(request: Any) -> Any:
        content_type, body = render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    metrics.__annotations__ = {"request": Request}
    router = application.router
    methods = ["GET", "HEAD"]
    if hasattr(router, "add_api_route"):
        from fastapi.routing import APIRoute

        # Not a plain route: FastAPI(dependencies=...) is to hold for it.
        router.add_api_route(
            endpoint,
            metrics,
            methods=methods,
            include_in_schema=False,
            response_model=None,
            route_class_override=_giving_way(application, APIRoute),
        )
    else:
        router.routes.append(
            _giving_way(application, Route)(endpoint, metrics, methods=methods, include_in_schema=False)
        )
    route = router.routes.pop()
    router.routes.insert(_place(router.routes, endpoint), route)


def _place(routes: Sequence[Any], endpoint: str) -> int:
    """Before the first route that takes every path; else at the end, where no other request has to go by."""
    from starlette.routing import Match

    for place, route in enumerate(routes):
        scope = {"type": "http", "method": "GET", "path": endpoint, "root_path": "", "headers": []}
        if route.matches(scope)[0] is Match.FULL:
            return place
    return len(routes)

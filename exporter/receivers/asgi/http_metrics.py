"""The HTTP metrics of prometheus-fastapi-instrumentator, of requests that nothing else counts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.metrics.contract import method_label
from exporter.metrics.http_instruments import HttpInstruments, stand_on
from exporter.receivers.asgi.existing import makes_http_metrics
from exporter.receivers.asgi.middleware import ASGIApp, Receive, Scope, Send

log = logging.getLogger("exporter.hook")

_COUNTED = "inference_exporter.counted"


class HttpMetricsMiddleware:
    """Counts requests, each once, and none where an Instrumentator of the application's own does.

    What there is to count is decided when the application builds its middleware, at its start: by then it has
    said whether it instruments itself, before or after it was given to us.

    Parameters
    ----------
    app
        The application inside.
    application
        The Starlette application whose middleware this is.
    registry
        Where the metrics appear. A request is counted on it once, also where applications that are
        instrumented are mounted in one another: by the outermost, which knows the path that the client sees.
    """

    def __init__(self, app: ASGIApp, *, application: Any, registry: CollectorRegistry) -> None:
        self._app = app
        self._registry = registry
        self._counting = app
        # Where ours stand already, for another application, an Instrumentator makes none, and counts nothing.
        if makes_http_metrics(application, registry) and not stand_on(registry):
            log.info(
                "the application has an Instrumentator of its own, which counts its requests; "
                "this exporter leaves the http_* metrics to it"
            )
            return
        instruments = HttpInstruments(registry)
        if instruments.others:
            log.info(
                "the application counts %s itself; this exporter leaves %s to it",
                ", ".join(instruments.others),
                "them" if len(instruments.others) > 1 else "that",
            )
        if instruments.names:
            self._counting = _counting(app, instruments, registry)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one connection scope."""
        if scope["type"] == "http":
            counted = scope.get(_COUNTED, ())
            if self._registry not in counted:
                scope[_COUNTED] = (*counted, self._registry)
                return self._counting(scope, receive, send)
        return self._app(scope, receive, send)


def _counting(app: ASGIApp, instruments: HttpInstruments, registry: CollectorRegistry) -> ASGIApp:
    from prometheus_fastapi_instrumentator.metrics import Info
    from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

    def record(info: Info) -> None:
        instruments.count(
            info.modified_handler,
            method_label(info.method),
            info.modified_status,
            seconds=info.modified_duration,
            request_bytes=_length(info.request.headers),
            response_bytes=_length(info.response.headers if info.response else {}),
        )

    counting: ASGIApp = PrometheusInstrumentatorMiddleware(app, instrumentations=[record], registry=registry)
    return counting


def _length(headers: Any) -> int:
    """What a message says of its own length; 0 where it says nothing, or nonsense."""
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0

"""What an application has of its own, as far as looking at it tells."""

from __future__ import annotations

from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Host, Mount, Route, WebSocketRoute

from exporter.receivers.asgi.existing import makes_http_metrics, routes_at, showing

OWN = CollectorRegistry()


def at(app: Any, path: str = "/metrics") -> list[Any]:
    return list(routes_at(app.routes, path))


def handler() -> Response:
    return Response(generate_latest(OWN))


def nested() -> Response:
    def page() -> bytes:
        return generate_latest(OWN)

    return Response(page())


def calls_another() -> Response:
    return handler()


def the_default() -> Response:
    return Response(generate_latest())


def decorated(function: Any) -> Any:
    @wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def default(registry: CollectorRegistry = OWN) -> Response:
    return Response(generate_latest(registry))


def keyword(*, registry: CollectorRegistry = OWN) -> Response:
    return Response(generate_latest(registry))


def unfilled() -> Any:
    def show() -> Any:
        return later

    if OWN is None:
        later = OWN
    return show


class Page:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def show(self) -> Response:
        return Response(generate_latest(self.registry))

    def __call__(self) -> Response:
        return self.show()


HANDLERS = [
    *(handler, nested, decorated(handler), decorated(decorated(nested)), default, keyword),
    *(partial(default, OWN), partial(keyword, registry=OWN), Page(OWN).show, Page(OWN)),
    make_asgi_app(OWN),
]


@pytest.mark.parametrize("endpoint", HANDLERS)
def test_the_registry_of_a_handler_is_found(endpoint: Any):
    route = Route("/metrics", endpoint)
    assert showing(route, OWN, shared=False) == "shown"
    assert showing(route, REGISTRY, shared=False) == "hidden"
    assert showing(route, REGISTRY, shared=True) == "hidden"


@pytest.mark.parametrize("endpoint", [calls_another, the_default, unfilled(), Page, print])
def test_what_cannot_be_found_is_unknown(endpoint: Any):
    assert showing(Route("/metrics", endpoint), OWN, shared=False) == "unknown"


def test_the_one_among_several_is_found():
    other = CollectorRegistry()

    def both() -> bytes:
        return generate_latest(other) + generate_latest(OWN)

    assert showing(Route("/metrics", both), OWN, shared=False) == "shown"
    assert showing(Route("/metrics", both), other, shared=False) == "shown"


def test_where_processes_share_a_folder_a_handler_that_reads_it_shows_everything(tmp_path: Path):
    app = FastAPI()
    Instrumentator(registry=CollectorRegistry()).expose(app)
    merged = CollectorRegistry()
    MultiProcessCollector(merged, path=str(tmp_path))
    for route in (*at(app), Mount("/metrics", make_asgi_app(merged))):
        assert showing(route, REGISTRY, shared=True) == "shown"
        assert showing(route, REGISTRY, shared=False) == "hidden"


def test_routes_are_found_wherever_they_are_declared():
    def show() -> Response:
        return Response("")

    inner = APIRouter()
    inner.get("/metrics")(show)
    inner.post("/metrics")(show)
    outer = APIRouter(prefix="/internal")
    outer.include_router(inner)
    app = FastAPI()
    app.include_router(outer)
    app.include_router(inner)
    app.mount("/static", Starlette(routes=[Route("/metrics", show), WebSocketRoute("/metrics/ws", show)]))
    app.mount("/exporter", make_asgi_app())
    app.router.routes.append(Host("metrics.example", app=Starlette()))
    for path in ("/metrics", "/internal/metrics", "/static/metrics", "/exporter"):
        assert len(at(app, path)) == 1, path
    for path in ("/", "/internal", "/static/metric", "/exporter/metrics"):
        assert at(app, path) == [], path


def test_only_what_is_declared_for_get_at_the_very_path():
    routes = [
        Route("/{rest:path}", print),
        Route("/metrics", print, methods=["POST"]),
        Route("/metrics/more", print),
        Mount("/", make_asgi_app()),
    ]
    assert at(Starlette(routes=routes)) == []
    assert len(at(Starlette(routes=[Route("/metrics/", print)]))) == 1


@pytest.mark.parametrize(
    ("instrument", "makes"),
    [
        (lambda app: Instrumentator().instrument(app), True),
        (lambda app: Instrumentator(registry=OWN).instrument(app), False),
        (lambda app: Instrumentator().instrument(app, metric_namespace="shop"), False),
        (lambda app: Instrumentator().instrument(app, metric_subsystem="shop"), False),
        (lambda app: Instrumentator().add(print).instrument(app), False),
        (lambda app: app.add_middleware(lambda app: app), False),
    ],
)
def test_an_instrumentator_that_makes_the_default_metrics(instrument: Any, makes: bool):
    app = FastAPI()
    instrument(app)
    assert makes_http_metrics(app, REGISTRY) is makes

"""What an application has of its own: Instrumentators that count its requests, routes that show a registry.

Everything here is found by looking at objects; nothing of the application's is called.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import REGISTRY, CollectorRegistry

from exporter.metrics.private import reads_shared_files

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

Showing = Literal["shown", "hidden", "unknown"]

_MIDDLEWARE = "PrometheusInstrumentatorMiddleware"
_INSTRUMENTATOR = "PrometheusFastApiInstrumentator"
# A handler is looked for under decorators, and no deeper: what lies further off need not be what it shows.
_MAX_DEPTH = 4


def makes_http_metrics(application: Any, registry: CollectorRegistry) -> bool:
    """Whether an Instrumentator of the application's own makes its default metrics on ``registry``.

    One that counts under a namespace, on another registry, or only what it was told to, does not.
    """
    for middleware in application.user_middleware:
        if not _is_a(middleware.cls, _MIDDLEWARE):
            continue
        given = middleware.kwargs
        special = any(given.get(key) for key in ("instrumentations", "metric_namespace", "metric_subsystem"))
        if not special and (given.get("registry") or REGISTRY) is registry:
            return True
    return False


def routes_at(routes: Iterable[BaseRoute], path: str, *, below: str = "") -> Iterator[Any]:
    """The routes declared for GET at ``path``; not one that matches it among others, such as ``/{rest}``."""
    from starlette.routing import Mount

    for route in routes:
        if callable(contexts := getattr(route, "effective_route_contexts", None)):  # FastAPI's include_router
            found = [getattr(context, "starlette_route", None) or context for context in contexts()]
            yield from routes_at(found, path, below=below)
            continue
        declared = getattr(route, "path", None)
        if not isinstance(declared, str):
            continue
        methods = getattr(route, "methods", None)
        if (below + declared).rstrip("/") == path and (not methods or "GET" in methods):
            yield route
        if isinstance(route, Mount) and route.routes:
            yield from routes_at(route.routes, path, below=below + declared)


def showing(route: Any, registry: CollectorRegistry, *, shared: bool) -> Showing:
    """Whether what a route shows is ``registry``, as far as its handler's code and closure say.

    ``shared``: processes share their values in a folder, which some handlers read whatever their registry.
    """
    found = set(_registries(getattr(route, "endpoint", None) or getattr(route, "app", None)))
    registries = {registry for registry, _ in found}
    if registry in registries:
        return "shown"
    if shared and any(follows or reads_shared_files(each) for each, follows in found):
        return "shown"
    return "hidden" if registries else "unknown"


def _registries(handler: Any, depth: int = 0) -> Iterator[tuple[CollectorRegistry, bool]]:
    """Every registry that a handler holds, and whether it reads the processes' folder where there is one."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(handler, CollectorRegistry):
        yield handler, False
    elif _is_a(type(handler), _INSTRUMENTATOR):
        yield handler.registry, True
    elif isinstance(handler, MethodType):
        yield from _registries(handler.__func__, depth + 1)
        yield from _held(handler.__self__)
    elif isinstance(handler, partial):
        for value in (handler.func, *handler.args, *handler.keywords.values()):
            yield from _registries(value, depth + 1)
    elif isinstance(handler, FunctionType):
        names = set(_global_names(handler.__code__))
        values = [handler.__globals__[name] for name in names if name in handler.__globals__]
        # Other functions that it calls by a global name are its own business, what it encloses is its own.
        yield from ((value, False) for value in values if isinstance(value, CollectorRegistry))
        for value in (*_enclosed(handler), *(handler.__defaults__ or ()), *_keyword_defaults(handler)):
            yield from _registries(value, depth + 1)
    elif not isinstance(handler, type):
        yield from _held(handler)
        if isinstance(inner := getattr(handler, "app", None), FunctionType):  # a WSGI application, adapted
            yield from _registries(inner, depth + 1)


def _held(thing: Any) -> Iterator[tuple[CollectorRegistry, bool]]:
    for value in list(getattr(thing, "__dict__", {}).values()):
        if isinstance(value, CollectorRegistry):
            yield value, _is_a(type(thing), _INSTRUMENTATOR)


def _enclosed(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _keyword_defaults(function: FunctionType) -> Iterable[Any]:
    return (function.__kwdefaults__ or {}).values()


def _global_names(code: CodeType) -> Iterator[str]:
    """Names of globals that a function reads, also in the functions inside it."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _is_a(cls: Any, name: str) -> bool:
    return any(base.__name__ == name for base in getattr(cls, "__mro__", ()))

"""The hook's face: one line that adds everything to an ASGI application."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry

from exporter.config import Config
from exporter.config.loading import load_config
from exporter.direct import DirectFace
from exporter.errors import ConfigError
from exporter.http.paths import path_matcher
from exporter.observation import DriftEvent
from exporter.processes.supervisor import can_spawn
from exporter.receivers.asgi.http_metrics import HttpMetricsMiddleware
from exporter.receivers.asgi.middleware import CaptureMiddleware
from exporter.receivers.asgi.scrape import expose_metrics
from exporter.receivers.asgi.torch_hook import ModuleWatch
from exporter.runtime import Runtime
from exporter.version import __version__

if TYPE_CHECKING:
    from starlette.applications import Starlette

log = logging.getLogger(__name__)
App = TypeVar("App", bound="Starlette")

ENABLE_VARIABLE = "ENABLE_METRICS"

_TRIES = 3
_RETRY_SECONDS = 0.01


class InferenceExporter(DirectFace):
    """Watches one model inside its own service.

    >>> from fastapi import FastAPI
    >>> app = FastAPI()
    >>> exporter = InferenceExporter(model="digits").instrument(app).expose(app)

    The environment variable ``ENABLE_METRICS``, set to ``false``, turns all of it off: not even the
    configuration is read.

    Parameters
    ----------
    config
        A :class:`Config`, a path to a YAML file, or None for defaults and the environment.
    registry
        Where the metrics appear: by default ``prometheus_client.REGISTRY``, with the application's own, and
        with those of other exporters, of other models. ``CollectorRegistry()`` keeps them apart.
    on_event
        Called on a thread of ours with each :class:`DriftEvent`.
    overrides
        Top-level keys of the configuration, such as ``model``; and ``reference``, the short form of
        ``drift=[{"reference": ...}]``: a path, or a number of embeddings to learn it from.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If a setting, or something that it names, cannot serve; or if something else stands on the registry
        under one of our names.
    """

    def __init__(
        self,
        config: Config | str | Path | None = None,
        *,
        registry: CollectorRegistry | None = None,
        on_event: Callable[[DriftEvent], None] | None = None,
        **overrides: Any,
    ) -> None:
        self._given = config, overrides
        self._on_event = on_event
        self.registry = registry if registry is not None else REGISTRY
        self.watches: list[ModuleWatch] = []
        self._apps: list[weakref.ref[Any]] = []
        self._place = _place()
        switch = os.environ.get(ENABLE_VARIABLE, "true").strip().lower()
        self.enabled = switch not in {"false", "0", "no", "off"}
        if self.enabled:
            self.runtime  # noqa: B018 - what cannot serve is an error here, and not at the first request

    @cached_property
    def config(self) -> Config:
        """What is watched, and how."""
        return _resolve(*self._given)

    @cached_property
    def runtime(self) -> Runtime:
        """Everything behind the hook, made when somebody asks for it: not where metrics are switched off."""
        return Runtime(
            self.config,
            registry=self.registry,
            isolated=self.config.isolation != "thread" and can_spawn(),
            on_event=self._on_event,
            place=self._place,
            in_use=self._in_use,
        )

    def instrument(self, app: App) -> InferenceExporter:
        """Add our capture to an application, and the HTTP metrics of prometheus-fastapi-instrumentator.

        To be called before the application serves its first request. Where an Instrumentator of the
        application's own counts on the same registry, it goes on doing so, and its metrics are the HTTP
        metrics; whether it was added before this call or is added after it.

        Raises
        ------
        ConfigError
            If the application serves already.
        """
        if not self.enabled:
            return self
        if app.middleware_stack is not None:
            raise ConfigError(
                "instrument: the application has served a request, and takes no further middleware; "
                "instrument it where it is made"
            )
        if any(each.kwargs.get("owner") is self.runtime for each in app.user_middleware):
            log.warning("the application is instrumented by this exporter already; it is not counted twice")
            return self
        _needs_instrumentator()
        self._apps.append(weakref.ref(app))
        app.add_middleware(HttpMetricsMiddleware, application=app, registry=self.registry)
        # Last in the list is innermost: bodies are seen before any compression, and the handler's
        # context is ours.
        from starlette.middleware import Middleware

        app.user_middleware.append(Middleware(CaptureMiddleware, **self._capture_settings()))
        return self

    def expose(self, app: App, endpoint: str = "/metrics") -> InferenceExporter:
        """See to it that an application shows the metrics at a path: by a route of its own, or by ours.

        A route that the application has already is kept as it is, with its login if it asks for one; so is
        one that is added later.

        Raises
        ------
        ConfigError
            If the application has a route there which shows another registry.
        """
        if self.enabled:
            shared = self.runtime.instruments.shared_folder is not None
            expose_metrics(app, endpoint, self.registry, self.runtime.render, shared=shared)
        return self

    def wrap(self, app: Any) -> Any:
        """Our capture around any ASGI application, where there is no Starlette underneath."""
        if not self.enabled:
            return app
        wrapped = CaptureMiddleware(app, **self._capture_settings())
        self._apps.append(weakref.ref(wrapped))
        return wrapped

    def watch(self, module: Any, layer: str | None = None) -> InferenceExporter:
        """Take embeddings from a live ``torch.nn.Module``, in its own forward pass.

        One layer of one module is watched at a time, since a detector tests one kind of embedding: the rows
        of a second would be tested, and counted, as if they were the first's.

        Parameters
        ----------
        module
            The model that serves the requests.
        layer
            Name of the submodule whose output is the embedding; None for the input of the last
            linear layer.

        Raises
        ------
        ConfigError
            If the module has no such layer, or another one is watched.
        """
        if self.enabled:
            if any(watch.active for watch in self.watches):
                raise ConfigError(
                    f"watch: {type(module).__name__} would be the second module or layer of this exporter, "
                    "and a detector tests one; leave one out, take the first off with watches[0].remove(), "
                    "or give each an exporter of its own"
                )
            watch = ModuleWatch(module, layer, without_request=self._submit_rows, on_error=self._count_error)
            self.watches.append(watch)
        return self

    def status(self) -> dict[str, Any]:
        """What was found in each model's last hundred exchanges, and why what is not read is not.

        Plain values for JSON: paths, decoders, fields, reasons and the keys of bodies, never their values.
        What a helper process found shows a second later. The sidecar has the same at ``/api/v1/status``.
        """
        return self.runtime.status() if self.enabled else {"version": __version__, "models": []}

    def start(self) -> None:
        """Start in this process. The application's lifespan does it, and so does the first request."""
        if self.enabled:
            self.runtime.start()

    def stop(self) -> None:
        """Handle what waits, within ``queue.drain_seconds``, and stop."""
        if self.enabled:
            self.runtime.stop()

    def _capture_settings(self) -> dict[str, Any]:
        async def start() -> None:
            self.start()

        return {
            "matches": path_matcher(self.config.capture.paths),
            "submit": partial(self.runtime.submit, source="hook"),
            "max_body_bytes": int(self.config.capture.max_body_bytes),
            "on_startup": start,
            "on_shutdown": partial(asyncio.to_thread, self.stop),
            "on_error": self._count_error,
            "owner": self.runtime,
        }

    def _in_use(self) -> bool:
        """Whether an application of ours is left; also where it had none, for then it is used otherwise."""
        if not self._apps or self.watches:
            return True
        for _ in range(_TRIES):
            gc.collect()  # an application is full of circles
            if all(app() is None for app in self._apps):
                return False
            time.sleep(_RETRY_SECONDS)  # a thread that has served a request for it lets it go in a moment
        return True

    def _submit_rows(self, rows: Any) -> None:
        self._recorder.record_rows(rows, "hook")

    def _count_error(self) -> None:
        log.exception("an exchange could not be recorded")
        self.runtime.instruments.errors["extract"].inc()


def _needs_instrumentator() -> None:
    if find_spec("prometheus_fastapi_instrumentator") is None:
        raise ConfigError(
            "instrument: prometheus-fastapi-instrumentator is not installed; "
            "pip install 'inference-exporter[fastapi]', or wrap any ASGI application with wrap(app)"
        )


def _place() -> tuple[str, int]:
    """File and line of whoever made an exporter."""
    frame = sys._getframe(2)
    return frame.f_code.co_filename, frame.f_lineno


def _resolve(config: Config | str | Path | None, overrides: Mapping[str, Any]) -> Config:
    given = dict(overrides)
    if (reference := given.pop("reference", None)) is not None:
        if "drift" in given:
            raise ConfigError(
                "reference: is the short form of drift=[{'reference': ...}]; give one of the two"
            )
        given["drift"] = [{"reference": {"learn": reference} if isinstance(reference, int) else reference}]
    if not isinstance(config, Config):
        return load_config(config, overrides=given)
    if not given:
        return config
    return load_config({**config.model_dump(exclude_unset=True), **given}, environment={})

"""The face for what is no ASGI application: WSGI, and processes without HTTP."""

from __future__ import annotations

import atexit
import logging
import math
import weakref
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, pushadd_to_gateway

from exporter.config import Config
from exporter.http.paths import path_matcher
from exporter.metrics.http_instruments import HttpInstruments
from exporter.receivers.direct import Recorder
from exporter.receivers.scrape import MetricsServer
from exporter.receivers.wsgi import CaptureWsgi
from exporter.runtime import Runtime

log = logging.getLogger(__name__)

DEFAULT_PORT = 10911


class _Exporter(Protocol):
    enabled: bool
    registry: CollectorRegistry

    @property
    def config(self) -> Config: ...

    @property
    def runtime(self) -> Runtime: ...

    @property
    def _recorder(self) -> Recorder: ...

    def stop(self) -> None: ...

    def _count_error(self) -> None: ...


class DirectFace:
    """What :class:`~exporter.hook.InferenceExporter` offers where no ASGI application is."""

    @cached_property
    def _recorder(self: _Exporter) -> Recorder:
        stop_at_exit(self)
        return Recorder(self.config.model, self.runtime)

    def wrap_wsgi(self: _Exporter, app: Any, metrics: str | None = None) -> Any:
        """Our capture around a WSGI application, such as Flask's ``app.wsgi_app``.

        Responses go on byte for byte and piece by piece; ``observe()`` works inside handlers. Requests are
        counted in the ``http_*`` metrics, with the pattern of ``capture.paths`` that matched as handler, or
        ``none``. At the end of the process what waits is handled, within ``queue.drain_seconds``.

        Parameters
        ----------
        app
            The application.
        metrics
            The path at which GET shows the metrics, such as ``/metrics``, instead of the application. None
            where the application shows the registry itself, or another port does (:meth:`serve`).

        Returns
        -------
        Any
            What the server is given; the application itself where metrics are switched off.
        """
        if not self.enabled:
            return app
        stop_at_exit(self)
        runtime, capture = self.runtime, self.config.capture
        instruments = HttpInstruments(self.registry)
        if instruments.others:
            log.info(
                "%s are counted by somebody else already, and left to them", ", ".join(instruments.others)
            )
        return CaptureWsgi(
            app,
            matches=path_matcher(capture.paths),
            submit=partial(runtime.submit, source="hook"),
            max_body_bytes=int(capture.max_body_bytes),
            on_error=self._count_error,
            instruments=instruments,
            registry=self.registry,
            scrape=None if metrics is None else (metrics, runtime.render),
            alone=self.config.collector is None and runtime.instruments.shared_folder is None,
        )

    def record(
        self: _Exporter,
        *,
        predicted_class: Any = None,
        confidence: Any = None,
        value: Any = None,
        embedding: Any = None,
        features: Any = None,
        request_id: Any = None,
        model: str | None = None,
        version: str | None = None,
    ) -> bool:
        """Record one prediction, where no request is captured: a queue's consumer, a gRPC server, a notebook.

        It never waits and never raises. What is not valid is refused and counted, and said in the log once;
        the rest of the record counts all the same. From any thread, from asyncio, and after a fork.

        Parameters
        ----------
        predicted_class
            The class that the model chose.
        confidence
            Its probability, 0 to 1.
        value
            The output of a regression model.
        embedding
            (d,) array of floats, numpy or torch; float32 is what is kept of it, copied before this returns.
        features
            (k,) floats or a mapping: what the model was asked. Its numbers are tested for drift where no
            embedding is ever given.
        request_id
            The caller's identifier.
        model
            Name of the model, where the process has several (``model: auto``, or ``models``).
        version
            Which release of it.

        Returns
        -------
        bool
            Whether it was queued. What was not is counted in ``inference_exporter_dropped_total``.
        """
        if not self.enabled:
            return False
        return self._recorder.record(
            {
                "predicted_class": predicted_class,
                "confidence": confidence,
                "value": value,
                "embedding": embedding,
                "features": features,
                "request_id": request_id,
            },
            model,
            version,
        )

    def record_batch(
        self: _Exporter,
        *,
        predicted_class: Any = None,
        confidence: Any = None,
        value: Any = None,
        embedding: Any = None,
        features: Any = None,
        request_id: Any = None,
        model: str | None = None,
        version: str | None = None,
        wait_seconds: float = 0.0,
    ) -> int:
        """Record n predictions given as columns, which cost a hundredth of as many calls of :meth:`record`.

        It never raises. A column that cannot serve is refused and counted, row by row where single values are
        not valid; columns of different lengths are dropped, since nobody knows what belongs together.

        Parameters
        ----------
        predicted_class
            (n,) classes: texts or integers.
        confidence
            (n,) probabilities, 0 to 1.
        value
            (n,) outputs of a regression model.
        embedding
            (n, d) array of floats, numpy or torch; float32 is what is kept of it.
        features
            (n, k) numbers, or a mapping from name to (n,) numbers or texts; a data frame is one.
            Tested as those of :meth:`record`.
        request_id
            (n,) identifiers.
        model
            Name of the model, where the process has several (``model: auto``, or ``models``).
        version
            Which release of it.
        wait_seconds
            How long to wait for place in the queue, which holds ``queue.max_items`` rows. A service drops
            what finds none at once; a batch job has time.

        Returns
        -------
        int
            How many rows were queued. The others are counted in ``inference_exporter_dropped_total``.
        """
        if not self.enabled:
            return 0
        columns = {
            "predicted_class": predicted_class,
            "confidence": confidence,
            "value": value,
            "embedding": embedding,
            "features": features,
            "request_id": request_id,
        }
        return self._recorder.record_batch(columns, model, version, wait_seconds)

    def flush(self: _Exporter, timeout: float | None = None) -> bool:
        """Wait until all that was captured or recorded before is counted and tested.

        Parameters
        ----------
        timeout
            Seconds; None waits for as long as it takes.

        Returns
        -------
        bool
            False if the time was not enough.
        """
        return self.runtime.flush(math.inf if timeout is None else timeout) if self.enabled else True

    def serve(self: _Exporter, port: int = DEFAULT_PORT, host: str = "127.0.0.1") -> MetricsServer:
        """Serve ``/metrics`` from this process, for Prometheus to scrape.

        Parameters
        ----------
        port, host
            Where to listen; port 0 is a free one. ``host="0.0.0.0"`` is needed where Prometheus is elsewhere.

        Returns
        -------
        MetricsServer
            With ``port``, ``url`` and ``close()``.

        Raises
        ------
        ConfigError
            If nobody can listen there.
        """
        if not self.enabled:
            return MetricsServer(lambda _: ("text/plain; charset=utf-8", b""), host, port)
        return MetricsServer(self.runtime.render, host, port)

    def push(
        self: _Exporter,
        url: str,
        job: str,
        grouping_key: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> bool:
        """Send all metrics to a Pushgateway, for a job that ends before anybody could scrape it.

        To be called after :meth:`flush`, as the last thing. What the gateway has of this job and grouping key
        is replaced, metric by metric. It does not raise: a job need not fail since its metrics were not sent.

        Parameters
        ----------
        url
            ``http://HOST:PORT`` of the gateway.
        job
            The label ``job``.
        grouping_key
            Further labels that tell jobs apart, such as ``{"instance": "nightly"}``.
        timeout
            Seconds for all of it.

        Returns
        -------
        bool
            Whether the gateway took them; if not, why stands in the log.
        """
        if not self.enabled:
            return False
        try:
            pushadd_to_gateway(url, job, self.registry, dict(grouping_key or {}), timeout)
        except Exception as error:  # of urllib: also what a URL or a label is not allowed to be
            log.error("push: the metrics of job %r could not be sent to %s: %s", job, url, error)
            return False
        return True


def stop_at_exit(exporter: _Exporter) -> None:
    """Handle what waits when the interpreter ends, within ``queue.drain_seconds``."""
    known = weakref.ref(exporter)

    def stop() -> None:
        if (alive := known()) is not None:
            alive.stop()

    atexit.register(stop)

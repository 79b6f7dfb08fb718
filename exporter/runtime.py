"""The composition root: a configuration becomes a running exporter, with ``start()`` and ``stop()``."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.metrics.claims import Owner
from exporter.metrics.exposition import multiprocess_folder, render
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent, Source
from exporter.pipeline.models import ModelHandler, Models
from exporter.pipeline.monitor import Monitor
from exporter.pipeline.on_demand import OnDemand
from exporter.pipeline.packing import Item, pack
from exporter.pipeline.pipeline import Pipeline
from exporter.processes.helper import HelperProcess
from exporter.processors.assembly import Assembly, check_pipelines
from exporter.processors.drift import Notifier
from exporter.receivers.asgi.context import orphan_observes
from exporter.receivers.rows import Rows
from exporter.version import __version__

log = logging.getLogger(__name__)

# How soon other processes show what happens here without a request: a calibration that ends, above all.
_SHARE_SECONDS = 0.5

_alive: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """A running exporter: the models of a process; others may stand on the same registry, with other models.

    Threads are started by :meth:`start`, or by the first submission in a process, so that an object
    made before a fork works in every child.

    Parameters
    ----------
    sidecar
        Whether to carry the sidecar's metrics.
    isolated
        Whether to read, count and test in a helper process.
    on_event
        Called on a worker thread with each :class:`DriftEvent`.
    place
        Where in the user's code it was made, if that is known.
    in_use
        Whether anything can still be submitted; asked when another exporter wants the model.
    clock
        Seconds since the epoch.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If something that the configuration names cannot serve; before anything runs.
    """

    def __init__(
        self,
        config: Config,
        *,
        registry: CollectorRegistry | None = None,
        sidecar: bool = False,
        isolated: bool = False,
        on_event: Callable[[DriftEvent], None] | None = None,
        place: object = None,
        in_use: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.place = place
        self.registry = registry if registry is not None else CollectorRegistry()
        forward, folder = config.collector is not None, multiprocess_folder()
        if sidecar:
            self.instruments = Instruments(self.registry, sidecar=True, forward=forward, shared_folder=folder)
        else:
            self.instruments = Instruments.on(self.registry, forward=forward, shared_folder=folder)
        notify = Notifier(self.instruments, on_event)

        assembly = Assembly(
            config,
            self.instruments,
            notify=notify,
            with_labels=sidecar and config.ingest.enabled,
            clock=clock,
        )
        self.helper: HelperProcess | None = None
        handler_of: Callable[[Config, bool], ModelHandler] = partial(self._on_demand, assembly)
        try:
            if isolated or config.is_open:
                check_pipelines(config)
            if isolated:
                self.helper = HelperProcess(config, self.instruments, assembly.pipeline, notify)
                handler_of = self.helper.handler
            self.models = Models(config, self.instruments, handler_of, owner=self)
        except Exception:
            self.instruments.leave(self)
            raise
        self.instruments.before_collect(self._publish_orphans)
        self._in_use = in_use
        self._fresh = True  # the first submission starts it, unless it was stopped
        self._starting = threading.Lock()
        self._sharing: threading.Event | None = None
        _alive.add(self)

    @property
    def monitor(self) -> Monitor:
        """That of whatever names no model: of the only model, where there is one."""
        return self.models.of_name(None)[0]

    @property
    def pipeline(self) -> Pipeline:
        """What reads, counts and tests it in this process; raises as :meth:`pipelines`."""
        return self.pipelines(None)[0]

    def pipelines(self, model: str | None) -> list[Pipeline]:
        """A model's pipelines in this process, one for each version; they are made if need be.

        Raises
        ------
        ValueError
            If a helper process has them.
        """
        handlers = [monitor.handler for monitor in self.models.of_name(model)]
        if not all(isinstance(handler, OnDemand) for handler in handlers):
            raise ValueError("a helper process has the pipelines")
        return [handler.pipeline for handler in handlers if isinstance(handler, OnDemand)]

    def start(self) -> None:
        """Start the worker; does nothing if it runs in this process.

        Raises
        ------
        ConfigError
            If it was stopped, and another exporter on the same registry watches its model since.
        """
        with self._starting:
            self._start()

    def stop(self) -> None:
        """Handle what waits, within the drain time, and end the worker; what comes later is refused."""
        with self._starting:
            self._fresh = False
            if self._sharing is not None:
                self._sharing.set()
                self._sharing = None
            self.models.stop(self.config.queue.drain_seconds)
            if self.helper is not None:
                self.helper.stop()
            # Not by ourselves: a scrape may be under way, and shall not see half of it.
            self.instruments.refresh()

    def yields(self, other: Owner) -> bool:
        """Whether another exporter on the registry may have the model.

        A module that is imported twice (as ``__main__``, and again by the server that it starts) makes one at
        the same place each time, and uses the second; a test-suite makes one for each of its applications.
        """
        if not self._in_use():
            self.stop()
            return True
        return self._fresh and self.place is not None and self.place == other.place

    def submit(self, item: Item, source: Source, model: str | None = None) -> bool:
        """Queue an exchange or observation; False if it was refused. Never waits, never raises.

        ``model`` is the name of the one that it belongs to; by default it is what the item says of itself.
        """
        monitor: Monitor | None = None
        try:
            if self._fresh:
                self._start_by_itself()
            monitor = self.models.of(item, model)
            n = len(item) if isinstance(item, Rows) else 1
            return monitor.worker.offer(pack(item, source, monitor.refuse), source, n)
        except Exception as error:
            log.exception("an observation could not be queued")
            self.instruments.errors["extract"].inc()
            # It is one, of which something cannot be packed.
            if isinstance(error, ValueError) and monitor is not None:
                monitor.ledger.refused(source, "failed", len(item) if isinstance(item, Rows) else 1)
            return False

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all that was submitted before is counted and tested; False if time was not enough."""
        deadline = time.monotonic() + timeout_seconds
        waits = [monitor.worker.drain(max(0.0, deadline - time.monotonic())) for monitor in self.models.all]
        return all(waits)

    def room(self, rows: Rows, bytes_each: int) -> int:
        """How many of these rows, of so many bytes, there is place for now."""
        return self.models.of(rows).worker.room(bytes_each)

    def refuse_rows(self, rows: Rows, n: int, source: Source, reason: str | None = None) -> None:
        """Count ``n`` that were given up at once: for a reason of the ledger, or for want of place."""
        monitor = self.models.of(rows)
        if reason is None:
            monitor.worker.turn_away(source, n)
        else:
            monitor.ledger.refused(source, reason, n)

    def refuse_value(self, rows: Rows, field: str, reason: str, n: int) -> None:
        """Count values that are not valid; the rows say of which model."""
        self.models.of(rows).refuse(field, reason, n)

    def reconfigure(self, config: Config) -> None:
        """Take over another configuration's models, with their capture and drift sections, while running.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve; everything then stays as it was.
        ValueError
            If the work is done in a helper process, which keeps the configuration that it began with.
        """
        if self.helper is not None:
            raise ValueError("a helper process keeps its configuration; start the service anew")
        self.models.reconfigure(config)
        self.config = config

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and body of a response to a scrape."""
        folder = self.instruments.shared_folder
        if folder is not None:
            self.instruments.refresh()
        return render(self.registry, accept, folder)

    def status(self) -> dict[str, Any]:
        """What runs, and what was found in each model's last hundred exchanges, as plain values for JSON.

        Names and kinds, never a value of a body; see :class:`exporter.pipeline.findings.Findings`.
        """
        models = [
            {"model": monitor.model.name, "version": monitor.model.version, **monitor.handler.status()}
            for monitor in self.models.all
        ]
        return {"version": __version__, "models": models}

    def after_fork(self) -> None:
        """In a child process: begin anew there, with the first submission or :meth:`start`."""
        self._fresh = True
        self._starting = threading.Lock()
        self._sharing = None
        self.instruments.after_fork()
        self.models.after_fork()
        if self.helper is not None:
            self.helper.after_fork()

    def _start_by_itself(self) -> None:
        with self._starting:
            if self._fresh:
                try:
                    self._start()
                except ConfigError:
                    log.exception("the exporter does not start; what it observes is dropped")
                    self.instruments.errors["extract"].inc()

    def _start(self) -> None:
        try:
            self.models.start()
        except ConfigError:
            # Said once; what comes later is counted as dropped.
            self._fresh = False
            self.models.stop(0.0)
            raise
        if self.helper is not None:
            self.helper.start()
        if self.instruments.shared_folder is not None and self._sharing is None:
            ended = self._sharing = threading.Event()
            threading.Thread(target=self._share, args=(ended,), name="share", daemon=True).start()
        self._fresh = False

    def _on_demand(self, assembly: Assembly, config: Config, now: bool) -> OnDemand:
        handler = OnDemand(config, assembly.pipeline, self.instruments.errors["extract"].inc)
        if now:
            handler.pipeline  # noqa: B018 - what cannot serve is an error here
        return handler

    def _share(self, ended: threading.Event) -> None:
        """Keep this process's part of the shared folder up to date, for scrapes of others."""
        while not ended.wait(_SHARE_SECONDS):
            self.instruments.refresh()

    def _publish_orphans(self) -> None:
        counter = self.instruments["inference_exporter_orphan_observes_total"]
        self.instruments.totals.carry(counter, orphan_observes())


def _after_fork_in_child() -> None:
    for runtime in list(_alive):
        runtime.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

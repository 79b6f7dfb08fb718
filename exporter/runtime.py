"""The composition root: a configuration becomes a running exporter, with ``start()`` and ``stop()``."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.config import Config
from exporter.metrics.exposition import multiprocess_folder, render
from exporter.metrics.instruments import Instruments
from exporter.metrics.totals import Totals
from exporter.observation import DriftEvent, Source
from exporter.pipeline.monitor import Monitor
from exporter.pipeline.packing import Item, pack
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.worker import Handler
from exporter.processes.helper import HelperProcess
from exporter.processors.assembly import check_pipeline, make_pipeline
from exporter.processors.drift import Notifier
from exporter.receivers.asgi.context import orphan_observes
from exporter.version import __version__

log = logging.getLogger(__name__)

# How soon other processes show what happens here without a request: a calibration that ends, above all.
_SHARE_SECONDS = 0.5

_alive: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """A running exporter: one registry, one model's monitor.

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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.registry = registry if registry is not None else CollectorRegistry()
        self.instruments = Instruments(
            self.registry,
            value_buckets=config.capture.value_buckets,
            sidecar=sidecar,
            forward=config.collector is not None,
            shared_folder=multiprocess_folder(),
        )
        notify = Notifier(self.instruments, on_event)

        def build() -> Pipeline:
            return make_pipeline(config, self.instruments, notify=notify, clock=clock)

        self._pipeline: Pipeline | None = None
        handler: Handler
        if isolated:
            check_pipeline(config)
            handler = HelperProcess(config, self.instruments, build, notify)
        else:
            handler = self._pipeline = build()
        self.monitor = Monitor(config, self.instruments, handler)
        self._totals = Totals()
        self.instruments.before_collect(self._publish_orphans)
        self._fresh = True  # the first submission starts it, unless it was stopped
        self._starting = threading.Lock()
        self._sharing: threading.Event | None = None
        _alive.add(self)

    @property
    def pipeline(self) -> Pipeline:
        """What reads, counts and tests in this process.

        Raises
        ------
        ValueError
            If a helper process does.
        """
        if self._pipeline is None:
            raise ValueError("a helper process keeps its configuration; start the service anew")
        return self._pipeline

    def start(self) -> None:
        """Start the worker; does nothing if it runs in this process."""
        with self._starting:
            self._start()

    def stop(self) -> None:
        """Handle what waits, within the drain time, and end the worker; what comes later is refused."""
        with self._starting:
            self._fresh = False
            if self._sharing is not None:
                self._sharing.set()
                self._sharing = None
            self.monitor.stop()

    def submit(self, item: Item, source: Source) -> bool:
        """Queue an exchange or observation; False if it was refused. Never waits, never raises."""
        monitor = self.monitor
        try:
            if self._fresh:
                with self._starting:
                    if self._fresh:
                        self._start()
            return monitor.worker.offer(pack(item, source, monitor.refuse), source)
        except Exception as error:
            log.exception("an observation could not be queued")
            self.instruments.errors["extract"].inc()
            if isinstance(error, ValueError):  # it is one, of which something cannot be packed
                monitor.ledger.refused(source, "failed")
            return False

    def reconfigure(self, config: Config) -> None:
        """Take over the capture and drift sections of another configuration, while running.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve; everything then stays as it was.
        ValueError
            If the work is done in a helper process, which keeps the configuration that it began with.
        """
        self.pipeline.reconfigure(config)
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
        model = self.config.identity
        found = self.monitor.handler.status()
        return {"version": __version__, "models": [{"model": model.name, "version": model.version, **found}]}

    def after_fork(self) -> None:
        """In a child process: begin anew there, with the first submission or :meth:`start`."""
        self._fresh = True
        self._starting = threading.Lock()
        self._sharing = None
        self.instruments.after_fork()
        self.monitor.after_fork()

    def _start(self) -> None:
        self.monitor.start()
        if self.instruments.shared_folder is not None and self._sharing is None:
            ended = self._sharing = threading.Event()
            threading.Thread(target=self._share, args=(ended,), name="share", daemon=True).start()
        self._fresh = False

    def _share(self, ended: threading.Event) -> None:
        """Keep this process's part of the shared folder up to date, for scrapes of others."""
        while not ended.wait(_SHARE_SECONDS):
            self.instruments.refresh()

    def _publish_orphans(self) -> None:
        counter = self.instruments["inference_exporter_orphan_observes_total"]
        self._totals.carry(counter, orphan_observes())


def _after_fork_in_child() -> None:
    for runtime in list(_alive):
        runtime.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""The composition root: a configuration becomes a running exporter, with ``start()`` and ``stop()``."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.metrics.claims import Owner
from exporter.metrics.exposition import multiprocess_folder, render
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent, Source
from exporter.pipeline.monitor import Monitor
from exporter.pipeline.packing import Item, pack
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.worker import Handler
from exporter.processes.helper import HelperProcess
from exporter.processors.assembly import check_pipeline, make_pipeline
from exporter.processors.drift import Notifier
from exporter.receivers.asgi.context import orphan_observes

log = logging.getLogger(__name__)

# How soon other processes show what happens here without a request: a calibration that ends, above all.
_SHARE_SECONDS = 0.5

_alive: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """A running exporter: one model's monitor; others may stand on the same registry, with other models.

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
        self.instruments.claims.claim(config.identity, self)
        notify = Notifier(self.instruments, on_event)

        def build() -> Pipeline:
            return make_pipeline(config, self.instruments, notify=notify, clock=clock)

        self._pipeline: Pipeline | None = None
        handler: Handler
        try:
            if isolated:
                check_pipeline(config)
                handler = HelperProcess(config, self.instruments, build, notify)
            else:
                handler = self._pipeline = build()
        except Exception:
            self.instruments.leave(self)
            raise
        self.monitor = Monitor(config, self.instruments, handler)
        self.instruments.before_collect(self._publish_orphans)
        self._in_use = in_use
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
            self.monitor.stop()
            self.instruments.claims.release(self)

    def yields(self, other: Owner) -> bool:
        """Whether another exporter on the registry may have the model.

        A module that is imported twice (as ``__main__``, and again by the server that it starts) makes one at
        the same place each time, and uses the second; a test-suite makes one for each of its applications.
        """
        if not self._in_use():
            self.stop()
            return True
        return self._fresh and self.place is not None and self.place == other.place

    def submit(self, item: Item, source: Source) -> bool:
        """Queue an exchange or observation; False if it was refused. Never waits, never raises."""
        monitor = self.monitor
        try:
            if self._fresh:
                self._start_by_itself()
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

    def after_fork(self) -> None:
        """In a child process: begin anew there, with the first submission or :meth:`start`."""
        self._fresh = True
        self._starting = threading.Lock()
        self._sharing = None
        self.instruments.after_fork()
        self.monitor.after_fork()

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
            self.instruments.claims.claim(self.config.identity, self)
        except ConfigError:
            # Said once; what comes later is counted as dropped.
            self._fresh = False
            self.monitor.stop()
            raise
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
        self.instruments.totals.carry(counter, orphan_observes())


def _after_fork_in_child() -> None:
    for runtime in list(_alive):
        runtime.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

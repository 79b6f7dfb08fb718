"""The service's side of its helper process: started when needed, restarted when it dies or hangs, never
waited for by a request.

The monitor's worker thread hands over a batch and waits for the response, which says what became of each
item and what changed in the metrics. Ledger and metrics stay in the service: a scrape asks nobody, and
a helper that dies takes with it the batch in hand and what its detectors had seen, and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from exporter.config import Config
from exporter.errors import InferenceExporterError
from exporter.metrics.changes import Incoming
from exporter.metrics.exposition import MULTIPROCESS_VARIABLE
from exporter.metrics.instruments import Instruments, InvalidValues, ModelInstruments
from exporter.model import ModelId
from exporter.observation import DriftEvent
from exporter.pipeline.findings import summary
from exporter.pipeline.ledger import Tally
from exporter.pipeline.on_demand import OnDemand
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batch
from exporter.processes.framing import Link
from exporter.processes.helper_main import Begin, Update, Work
from exporter.processes.supervisor import Supervisor

log = logging.getLogger(__name__)

_PROGRAM = "exporter.processes.helper_main"
_LAST_WORDS_SECONDS = 1.0


class ModelHandler:
    """The way to one model's pipeline, which is the helper's, with those of all other models."""

    def __init__(self, helper: HelperProcess, config: Config, instruments: Instruments) -> None:
        self.config = config
        self._helper = helper
        # What a scrape shows before the helper has said anything.
        self._metrics = ModelInstruments(
            instruments, config.identity, max_classes=0, value_buckets=config.capture.value_buckets
        )
        InvalidValues(instruments, config.identity)

    @property
    def known_classes(self) -> list[str]:
        """Classes that are shown under their own names."""
        return self._metrics.known()

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Have a batch handled, and wait until it is."""
        self._helper.handle(self.config.identity, tally, batch)

    def status(self) -> dict[str, Any]:
        """What was found in the model's last exchanges, as the helper said a second ago at most."""
        return self._helper.status(self.config.identity)

    def reconfigured(self, config: Config) -> Callable[[], None]:  # noqa: ARG002
        """Not here: a ValueError."""
        raise ValueError("a helper process keeps its configuration; start the service anew")

    def start(self) -> None:
        """Nothing: the helper is started as one."""

    def stop(self) -> None:
        """Nothing: the helper is stopped as one."""

    def after_fork(self) -> None:
        """Nothing: the helper is the parent's as one."""


class HelperProcess:
    """Handles batches in a process of its own, with the only pipelines that there are.

    ``build`` makes a model's pipeline for this process, and is called only where no helper can be started;
    ``notify`` is called on the thread that handles with each :class:`DriftEvent`, and must not raise.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        build: Callable[[Config], Pipeline],
        notify: Callable[[DriftEvent], None],
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._errors = instruments.errors["detect"]
        self._build = build
        self._notify = notify
        # Replaced as a whole: a model is met on one thread, and a helper started on another.
        self._handlers: dict[ModelId, ModelHandler] = {}
        self._pipelines: dict[ModelId, OnDemand] | None = None  # of this process, where there is no helper
        self._useless = False
        self._status: dict[ModelId, dict[str, Any]] = {}
        self._begin()
        instruments.before_collect(self._catch_up)

    def _begin(self) -> None:
        self._supervisor = Supervisor()
        self._link: Link | None = None
        self._incoming = Incoming(self._instruments)
        self._talking = threading.Lock()
        self._ended = threading.Event()

    @property
    def pid(self) -> int | None:
        """The helper's process id; None while there is none."""
        return self._supervisor.pid

    def handler(self, config: Config, _: bool = False) -> ModelHandler:
        """The way to the pipeline of one more model, whose configuration it is."""
        handler = ModelHandler(self, config, self._instruments)
        self._handlers = {**self._handlers, config.identity: handler}
        return handler

    def start(self) -> None:
        """Start the helper, without waiting until it is ready."""
        with self._talking:
            self._ended.clear()
            if self._pipelines is not None:
                for pipeline in self._pipelines.values():
                    pipeline.start()
            elif self._link is None and not self._useless:
                self._spawn()

    def handle(self, model: ModelId, tally: Tally, batch: Batch) -> None:
        """Have a model's batch handled, and wait until it is."""
        with self._talking:
            link = self._running()
            if link is not None:
                response = self._work(link, model, batch)
                if response is None:
                    self._lost(link)
                elif response.tally is not None:
                    tally.add(response.tally)
            elif self._pipelines is not None:
                self._in_thread(self._pipelines, model).handle(tally, batch)
            else:
                tally.ended["failed" if self._useless else "stopped"] += len(batch)

    def stop(self) -> None:
        """End the helper, once its detectors have written their last checkpoints."""
        self._ended.set()
        link, self._link = self._link, None
        if link is not None:
            link.finish()
            patience = self._config.queue.drain_seconds + _LAST_WORDS_SECONDS
            if self._talking.acquire(blocking=False):
                link.connection.settimeout(patience)
                while self._response(link) is not None:
                    pass
                self._talking.release()
            self._supervisor.reap(patience)
            link.close()
        for pipeline in (self._pipelines or {}).values():
            pipeline.stop()

    def status(self, model: ModelId) -> dict[str, Any]:
        """What was found in a model's last exchanges, as the helper said a second ago at most."""
        if self._pipelines is not None:
            return self._pipelines[model].status() if model in self._pipelines else summary()
        self._catch_up()
        return self._status.get(model, summary())

    def after_fork(self) -> None:
        """In a child process: the helper is the parent's; another one is started when it is needed."""
        if self._link is not None:
            # The parent's end stays open; here, nobody may hold it open when the parent has ended.
            self._link.connection.close()
        self._supervisor.disown()
        for pipeline in (self._pipelines or {}).values():
            pipeline.after_fork()
        self._begin()

    def _running(self) -> Link | None:
        """The way to the helper, which is started if need be, after a pause; None if there is to be none."""
        while self._link is None and self._pipelines is None and not self._useless:
            if self._ended.wait(self._supervisor.pause_seconds):
                break
            self._spawn()
        return self._link

    def _spawn(self) -> None:
        # Its numbers come to this process's instruments, not into a folder that processes share.
        environment = {name: value for name, value in os.environ.items() if name != MULTIPROCESS_VARIABLE}
        try:
            link = Link(self._supervisor.spawn(_PROGRAM, environment))
            # Whoever hangs is left at this; see :class:`exporter.processes.child.Heartbeat`.
            link.connection.settimeout(self._supervisor.rules.start_seconds)
            with suppress(OSError):  # if it has died already, the first response will be missing
                known = {model: each.known_classes for model, each in self._handlers.items()}
                link.send(Begin(self._config, known))
        except Exception as error:
            self._supervisor.reap()
            self._use_thread(f"{type(error).__name__}: {error}")
        else:
            self._link, self._incoming = link, Incoming(self._instruments)

    def _use_thread(self, reason: str) -> None:
        log.warning("no helper process can be started (%s); a thread of this process does its work", reason)
        pipelines: dict[ModelId, OnDemand] = {}
        try:
            for model in self._handlers:
                pipeline = self._in_thread(pipelines, model)
                if model.name in self._config.named:
                    pipeline.pipeline  # noqa: B018 - what cannot serve is an error here
        except Exception as error:
            self._give_up(error)
        else:
            self._pipelines = pipelines

    def _in_thread(self, pipelines: dict[ModelId, OnDemand], model: ModelId) -> OnDemand:
        """The way to a model's pipeline in this process, among those that there are by now."""
        if model not in pipelines:
            config = self._handlers[model].config
            pipelines[model] = OnDemand(config, self._build, self._errors.inc)
            pipelines[model].start()
        return pipelines[model]

    def _give_up(self, error: Exception) -> None:
        """What only building a pipeline could show: nothing can be read until the service starts anew."""
        self._useless = True
        self._errors.inc()
        known = isinstance(error, InferenceExporterError)
        log.error("nothing is observed, since the configuration cannot serve: %s", error, exc_info=not known)

    def _work(self, link: Link, model: ModelId, batch: Batch) -> Update | None:
        """The response to a batch; None if the helper died or hung over it."""
        if not self._supervisor.is_ready and self._response(link) is None:
            return None
        work = Work(model, [block.lengths.tobytes() for block in batch.blocks])
        try:
            link.send(work, [block.view for block in batch.blocks])
        except OSError:
            return None
        return self._response(link)

    def _response(self, link: Link) -> Update | None:
        """Take in what the helper says, up to its next response; the first one says that it has started."""
        while (message := link.receive()) is not None:
            if self._take_in(link, message):
                response: Update = message
                return response
        return None

    def _catch_up(self) -> None:
        """Take in what the helper said of itself; not while it has a batch in hand, which will bring it."""
        if not self._talking.acquire(blocking=False):
            return
        try:
            link = self._link
            while link is not None and link.pending():
                message = link.receive()
                if message is None:
                    self._lost(link)
                    return
                self._take_in(link, message)
        finally:
            self._talking.release()

    def _take_in(self, link: Link, message: Any) -> bool:
        """Whether it was a response to something that the helper was given, or says that it is ready."""
        if isinstance(message, InferenceExporterError):
            self._give_up(message)
        if not isinstance(message, Update):
            return False
        try:
            self._incoming.apply(message.changes)
            self._status = {**self._status, **message.status}
            for name, level, text in message.log:
                logging.getLogger(name).log(level, "%s", text)
            for event in message.events:
                self._notify(event)
        except Exception:
            log.exception("a message of the helper process could not be taken in")
            self._errors.inc()
        if message.responds and not self._supervisor.is_ready:
            self._supervisor.ready()
            link.connection.settimeout(self._supervisor.rules.hung_seconds)
        return message.responds

    def _lost(self, link: Link) -> None:
        """A helper died, hangs or found nothing that it could do; the next batch may start another one."""
        if self._link is not link:
            return
        self._link = None
        status = self._supervisor.reap()
        link.close()
        if self._useless:
            return
        self._errors.inc()
        log.error("the helper process died (exit status %s); its detectors begin anew", status)
        self._supervisor.ended()
        if self._supervisor.hopeless:
            self._use_thread("each ended before it was ready")

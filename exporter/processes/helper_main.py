"""The helper's own program, a pipeline that is fed by a service and reports back to it, and what they say."""

from __future__ import annotations

import logging
import time
from array import array
from dataclasses import dataclass, field
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.config import Config
from exporter.errors import InferenceExporterError
from exporter.metrics.changes import Changes, Outgoing
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.observation import DriftEvent
from exporter.pipeline.ledger import Tally
from exporter.pipeline.on_demand import OnDemand
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batch, Block
from exporter.processes.child import Heartbeat, serve, settle_in
from exporter.processes.framing import Link
from exporter.processors.assembly import Assembly

log = logging.getLogger(__name__)

# How soon the service learns of what happens without it: a calibration that ends, above all.
_TICK_SECONDS = 0.25
# And of what was found, which takes longer to put together.
_STATUS_SECONDS = 1.0


@dataclass(frozen=True)
class Begin:
    """To the helper, first of all: what to watch, and the models that there are by now.

    Of each, ``known_classes`` are shown under their own names already.
    """

    config: Config
    known_classes: dict[ModelId, list[str]]


@dataclass(frozen=True)
class Work:
    """To the helper: a model's batch, whose blocks follow as bytes.

    ``lengths`` are for each block those of its items, as type L.
    """

    model: ModelId
    lengths: list[bytes]


@dataclass(frozen=True)
class Update:
    """To the service: everything that happened since the last one; the log as names, levels and texts.

    ``responds`` says that the helper has started, or is done with a batch, of which ``tally`` tells.
    ``status`` is what was found in the last exchanges of the models that had another one, said once a second.
    """

    changes: Changes
    events: list[DriftEvent]
    log: list[tuple[str, int, str]]
    responds: bool = False
    tally: Tally | None = None
    status: dict[ModelId, dict[str, Any]] = field(default_factory=dict)


class Helper:
    """Handles what comes over ``link``; once called, until the service says that it ends, or is gone."""

    def __init__(self, link: Link, begin: Begin, heartbeat: Heartbeat) -> None:
        config = begin.config
        instruments = Instruments(CollectorRegistry(), forward=config.collector is not None)
        self._link = link
        self._heartbeat = heartbeat
        self._instruments = instruments
        self._outgoing = Outgoing(instruments)
        self._events: SimpleQueue[DriftEvent] = SimpleQueue()
        # The service's log is where they belong.
        self._log: SimpleQueue[logging.LogRecord] = SimpleQueue()
        handler = QueueHandler(self._log)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler], force=True)
        self._config = config
        self._known_classes = begin.known_classes
        self._told: dict[ModelId, int] = {}
        self._told_at = float("-inf")
        self._assembly = Assembly(config, instruments, notify=self._events.put, apart=True)
        self._pipelines: dict[ModelId, OnDemand] = {}
        for model in begin.known_classes:
            pipeline = self._add(model)
            try:
                pipeline.pipeline  # noqa: B018 - so that all of it shows at once
            except InferenceExporterError:
                if model.name in config.named:
                    raise  # of others that is said with the first batch

    def _add(self, model: ModelId) -> OnDemand:
        errors = self._instruments.errors["extract"].inc
        pipeline = self._pipelines[model] = OnDemand(self._config.of(model), self._build, errors)
        return pipeline

    def _build(self, config: Config) -> Pipeline:
        return self._assembly.pipeline(config, self._known_classes.get(config.identity, ()))

    def __call__(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.start()
        self._report(responds=True)
        while True:
            if not self._link.pending(_TICK_SECONDS):
                self._report()
                continue
            message = self._link.receive()
            if not isinstance(message, Work):
                for pipeline in self._pipelines.values():
                    pipeline.stop()
                self._report()
                return
            tally, batch = Tally(), self._batch(message)
            try:
                with self._heartbeat.working():
                    self._of(message.model).handle(tally, batch)
            except Exception:
                log.exception("a batch of %d items was not handled to its end", len(batch))
                self._instruments.errors["extract"].inc()
            self._report(responds=True, tally=tally)

    def _of(self, model: ModelId) -> OnDemand:
        pipeline = self._pipelines.get(model)
        if pipeline is None:
            pipeline = self._add(model)
            pipeline.start()
        return pipeline

    def _batch(self, work: Work) -> Batch:
        blocks = []
        for data in work.lengths:
            lengths = array("L", data)
            view = self._link.read(sum(lengths))
            if view is None:
                raise ConnectionResetError("the batch broke off")
            blocks.append(Block(view, lengths))
        return Batch(blocks)

    def _report(self, *, responds: bool = False, tally: Tally | None = None) -> None:
        self._instruments.refresh()
        changes = self._outgoing.changes()
        events = [self._events.get() for _ in range(self._events.qsize())]
        records = [self._log.get() for _ in range(self._log.qsize())]
        lines = [(record.name, record.levelno, record.message) for record in records]
        status = self._status()
        if responds or changes.amounts or events or lines or status:
            self._link.send(Update(changes, events, lines, responds, tally, status))

    def _status(self) -> dict[ModelId, dict[str, Any]]:
        now = time.monotonic()
        if now - self._told_at < _STATUS_SECONDS:
            return {}
        self._told_at = now
        counts = {model: each.exchanges for model, each in self._pipelines.items()}
        changed = [model for model, count in counts.items() if count != self._told.get(model, 0)]
        self._told = counts
        return {model: self._pipelines[model].status() for model in changed}


def main(descriptor: int) -> None:
    """Serve the service at the other end of a socket."""
    serve(settle_in(descriptor), Helper)

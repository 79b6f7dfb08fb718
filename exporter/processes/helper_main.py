"""The helper's own program: a pipeline that is fed by a service, and reports back to it."""

from __future__ import annotations

import logging
import traceback
from array import array
from contextlib import suppress

from prometheus_client import CollectorRegistry

from exporter.errors import InferenceExporterError
from exporter.metrics.changes import Outgoing
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent
from exporter.pipeline.ledger import Tally
from exporter.pipeline.queue import Batch, Block
from exporter.processes.framing import Link
from exporter.processes.heartbeat import Heartbeat
from exporter.processes.messages import Begin, Line, Refused, Update, Work
from exporter.processes.spawn import settle_in
from exporter.processors.assembly import make_pipeline

log = logging.getLogger(__name__)

# How soon the service learns of what happens without it: a calibration that ends, above all.
_TICK_SECONDS = 0.25


class Helper:
    """Handles what comes over ``link`` until the service says that it ends, or is gone.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If something that the configuration names cannot serve.
    """

    def __init__(self, link: Link, begin: Begin, heartbeat: Heartbeat) -> None:
        config = begin.config
        instruments = Instruments(
            CollectorRegistry(),
            value_buckets=config.capture.value_buckets,
            forward=config.collector is not None,
        )
        self._link = link
        self._heartbeat = heartbeat
        self._instruments = instruments
        self._outgoing = Outgoing(instruments)
        self._events: list[DriftEvent] = []
        self._lines = _Lines()
        logging.basicConfig(level=logging.INFO, handlers=[self._lines], force=True)
        self._pipeline = make_pipeline(
            config, instruments, notify=self._events.append, known_classes=begin.known_classes, apart=True
        )

    def run(self) -> None:
        """Serve; returns when nothing comes any more."""
        self._pipeline.start()
        self._report(answers=True)
        while True:
            if not self._link.pending(_TICK_SECONDS):
                self._report()
                continue
            message = self._link.receive()
            if isinstance(message, Work):
                tally = Tally()
                batch = self._batch(message)
                try:
                    with self._heartbeat.working():
                        self._pipeline.handle(tally, batch)
                except Exception:
                    log.exception("a batch of %d items was not handled to its end", len(batch))
                    self._instruments.errors["extract"].inc()
                self._report(answers=True, tally=tally)
            else:
                self._pipeline.stop()
                self._report()
                return

    def _batch(self, work: Work) -> Batch:
        blocks = []
        for data in work.lengths:
            lengths = array("L", data)
            view = self._link.read(sum(lengths))
            if view is None:
                raise EOFError("the batch broke off")
            blocks.append(Block(view, lengths))
        return Batch(blocks)

    def _report(self, *, answers: bool = False, tally: Tally | None = None) -> None:
        self._instruments.refresh()
        changes = self._outgoing.changes()
        events, self._events[:] = list(self._events), []
        lines = self._lines.take()
        if answers or changes or events or lines:
            self._link.send(Update(changes, events, lines, answers, tally))


class _Lines(logging.Handler):
    """Keeps log records for the service, whose log they belong in."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        self._kept.append(Line(record.name, record.levelno, text))

    def take(self) -> list[Line]:
        kept, self._kept = self._kept, []
        return kept


def main(descriptor: int) -> None:
    """Serve the service at the other end of a socket."""
    link = Link(settle_in(descriptor))
    begin = link.receive()
    if begin is None:
        return
    heartbeat = Heartbeat(link)
    # The service may be gone, and nobody left to tell.
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):
        try:
            with heartbeat.working():
                helper = Helper(link, begin, heartbeat)
        except InferenceExporterError as error:
            link.send(Refused(error))
        else:
            helper.run()

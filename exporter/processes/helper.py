"""The service's side of its helper process: started when needed, restarted when it dies or hangs, never
waited for by a request.

The monitor's worker thread hands over a batch and waits for the response, which says what became of each
item and what changed in the metrics. Ledger and metrics stay in the service: a scrape asks nobody, and
a helper that dies takes with it the batch in hand and what its detectors had seen, and nothing else.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from exporter.config import Config
from exporter.errors import InferenceExporterError
from exporter.metrics.changes import Incoming
from exporter.metrics.exposition import MULTIPROCESS_VARIABLE
from exporter.metrics.instruments import Instruments, InvalidValues, ModelInstruments
from exporter.observation import DriftEvent
from exporter.pipeline.ledger import Tally
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batch
from exporter.processes.framing import Link
from exporter.processes.messages import Begin, Refused, Update, Work
from exporter.processes.spawn import reap, spawn
from exporter.processes.supervisor import RULES, Rules, Supervisor

log = logging.getLogger(__name__)

_PROGRAM = "exporter.processes.helper_main"
_LAST_WORDS_SECONDS = 1.0


@dataclass
class _Child:
    """A helper that runs, the way to it, and what becomes of what it says."""

    process: subprocess.Popen[bytes]
    link: Link
    incoming: Incoming


class HelperProcess:
    """Handles batches in a process of its own, with the only pipeline that there is.

    Parameters
    ----------
    config
        The whole configuration.
    instruments
        Where the metrics appear.
    build
        Makes a pipeline for this process; called where no helper can be started, and only then.
    notify
        Called on the thread that handles with each :class:`DriftEvent`; must not raise.
    rules
        When a helper is started again, and when it counts as hung.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        build: Callable[[], Pipeline],
        notify: Callable[[DriftEvent], None],
        rules: Rules = RULES,
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._errors = instruments.errors["detect"]
        # What a scrape shows before the helper has said anything.
        self._metrics = ModelInstruments(instruments, config.model, max_classes=0)
        InvalidValues(instruments, config.model)
        self._build = build
        self._notify = notify
        self._rules = rules
        self._pipeline: Pipeline | None = None
        self._useless = False
        self._child: _Child | None
        self._talking: threading.Lock
        self._ended: threading.Event
        self._supervisor: Supervisor
        self._begin()
        instruments.before_collect(self._catch_up)

    @property
    def pid(self) -> int | None:
        """The helper's process id; None while there is none."""
        child = self._child
        return None if child is None else child.process.pid

    def start(self) -> None:
        """Start the helper, without waiting until it is ready."""
        with self._talking:
            self._ended.clear()
            if self._pipeline is not None:
                self._pipeline.start()
            elif self._child is None and not self._useless:
                self._spawn()

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Have a batch handled, and wait until it is."""
        with self._talking:
            child = self._running()
            if child is not None:
                self._hand_over(child, tally, batch)
            elif self._pipeline is not None:
                self._pipeline.handle(tally, batch)
            else:
                tally.ended["failed" if self._useless else "stopped"] += len(batch)

    def stop(self) -> None:
        """End the helper, once its detectors have written their last checkpoints."""
        self._ended.set()
        child, self._child = self._child, None
        if child is not None:
            child.link.finish()
            patience = self._config.queue.drain_seconds + _LAST_WORDS_SECONDS
            if self._talking.acquire(blocking=False):
                child.link.connection.settimeout(patience)
                while self._response(child) is not None:
                    pass
                self._talking.release()
            reap(child.process, patience)
            child.link.close()
        if self._pipeline is not None:
            self._pipeline.stop()

    def after_fork(self) -> None:
        """In a child process: the helper is the parent's; another one is started when it is needed."""
        child = self._child
        if child is not None:
            # The parent's end stays open; here, nobody may hold it open when the parent has ended.
            child.link.connection.close()
            child.process.returncode = 0  # it is not ours to wait for
        if self._pipeline is not None:
            self._pipeline.after_fork()
        self._begin()

    def _begin(self) -> None:
        self._child = None
        self._talking = threading.Lock()
        self._ended = threading.Event()
        self._supervisor = Supervisor(self._rules)

    def _running(self) -> _Child | None:
        """The helper; starts one, after a pause if the last one died. None if there is to be none."""
        while self._child is None and self._pipeline is None and not self._useless:
            if self._ended.wait(self._supervisor.pause_seconds):
                break
            self._spawn()
        return self._child

    def _spawn(self) -> None:
        # Its numbers come to this process's instruments, not into a folder that processes share.
        environment = {name: value for name, value in os.environ.items() if name != MULTIPROCESS_VARIABLE}
        try:
            process, connection = spawn(_PROGRAM, environment)
            # Whoever hangs is left at this; see :class:`exporter.processes.heartbeat.Heartbeat`.
            connection.settimeout(self._rules.start_seconds)
            child = _Child(process, Link(connection), Incoming(self._instruments))
            with suppress(OSError):  # if it has died already, the first response will be missing
                child.link.send(Begin(self._config, self._metrics.known()))
        except Exception as error:
            self._use_thread(f"{type(error).__name__}: {error}")
            return
        self._supervisor.started()
        self._child = child

    def _use_thread(self, reason: str) -> None:
        log.warning("no helper process can be started (%s); a thread of this process does its work", reason)
        try:
            pipeline = self._build()
            pipeline.start()
        except Exception as error:
            self._give_up(error)
        else:
            self._pipeline = pipeline

    def _give_up(self, error: Exception) -> None:
        """What only building a pipeline could show: nothing can be read until the service starts anew."""
        self._useless = True
        self._errors.inc()
        known = isinstance(error, InferenceExporterError)
        log.error("nothing is observed, since the configuration cannot serve: %s", error, exc_info=not known)

    def _hand_over(self, child: _Child, tally: Tally, batch: Batch) -> None:
        response = self._work(child, batch)
        if response is None:
            self._lost(child)
        elif response.tally is not None:
            tally.add(response.tally)

    def _work(self, child: _Child, batch: Batch) -> Update | None:
        """The response to a batch; None if the helper died or hung over it."""
        if not self._supervisor.is_ready and self._response(child) is None:
            return None
        work = Work([block.lengths.tobytes() for block in batch.blocks])
        try:
            child.link.send(work, [block.view for block in batch.blocks])
        except OSError:
            return None
        return self._response(child)

    def _response(self, child: _Child) -> Update | None:
        """Take in what the helper says, up to its next response; the first one says that it has started."""
        while (message := child.link.receive()) is not None:
            if self._take_in(child, message):
                return message  # type: ignore[no-any-return]
        return None

    def _catch_up(self) -> None:
        """Take in what the helper said of itself; not while it has a batch in hand, which will bring it."""
        if not self._talking.acquire(blocking=False):
            return
        try:
            child = self._child
            while child is not None and child.link.pending():
                message = child.link.receive()
                if message is None:
                    self._lost(child)
                    return
                self._take_in(child, message)
        finally:
            self._talking.release()

    def _take_in(self, child: _Child, message: Any) -> bool:
        """Whether it was a response to something that the helper was given, or says that it is ready."""
        if isinstance(message, Refused):
            self._give_up(message.error)
        if not isinstance(message, Update):
            return False
        try:
            child.incoming.apply(message.changes)
            for line in message.lines:
                logging.getLogger(line.logger).log(line.level, "%s", line.text)
            for event in message.events:
                self._notify(event)
        except Exception:
            log.exception("a message of the helper process could not be taken in")
            self._errors.inc()
        if message.answers and not self._supervisor.is_ready:
            self._supervisor.ready()
            child.link.connection.settimeout(self._rules.hung_seconds)
        return message.answers

    def _lost(self, child: _Child) -> None:
        """A helper died, hangs or found nothing that it could do; the next batch may start another one."""
        if self._child is not child:
            return
        self._child = None
        status = reap(child.process)
        child.link.close()
        if self._useless:
            return
        self._errors.inc()
        log.error("the helper process died (exit status %s); its detectors begin anew", status)
        self._supervisor.ended()
        if self._supervisor.hopeless:
            self._use_thread("each ended before it was ready")

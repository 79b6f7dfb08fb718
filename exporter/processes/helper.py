"""The service's side of its helper process: started when needed, restarted when it dies, never waited
for by a request.

The monitor's worker thread hands over a batch and waits for the answer, which says what became of each
item and what changed in the metrics. Ledger and metrics stay in the service: a scrape asks nobody, and
a helper that dies takes with it the batch in hand and what its detectors had seen, and nothing else.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from exporter.config import Config
from exporter.metrics.changes import Incoming
from exporter.metrics.exposition import MULTIPROCESS_VARIABLE
from exporter.metrics.instruments import Instruments, ModelInstruments
from exporter.observation import DriftEvent
from exporter.pipeline.ledger import Tally
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batch
from exporter.processes.framing import Link
from exporter.processes.helper_messages import Begin, Update, Work
from exporter.processes.spawn import spawn

log = logging.getLogger(__name__)

_PROGRAM = "exporter.processes.helper_main"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 30.0
_STARTS_IN_VAIN = 3
_HEALTHY_SECONDS = 60.0
_LAST_WORDS_SECONDS = 1.0


@dataclass
class _Child:
    """A helper that runs, the way to it, and what becomes of what it says."""

    process: subprocess.Popen[bytes]
    link: Link
    incoming: Incoming
    ready: bool = False
    born: float = field(default_factory=time.monotonic)


class HelperProcess:
    """Handles batches in a process of its own, with a pipeline there that is like the one here.

    Parameters
    ----------
    config
        The whole configuration.
    instruments
        Where the metrics appear.
    pipeline
        One for this process: it has shown that the configuration can serve, its metrics are there
        before the helper's, and it takes over where no helper can be started.
    notify
        Called with each :class:`DriftEvent` of the helper's.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        pipeline: Pipeline,
        notify: Callable[[DriftEvent], None],
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._errors = instruments.errors["detect"]
        self._pipeline = pipeline
        self._notify = notify
        self._metrics = ModelInstruments(instruments, config.model, max_classes=0)
        self._at_home = False
        self._child: _Child | None
        self._turn: threading.Lock
        self._ended: threading.Event
        self._begin()
        instruments.before_collect(self._catch_up)

    @property
    def pid(self) -> int | None:
        """The helper's process id; None while there is none."""
        child = self._child
        return None if child is None else child.process.pid

    def start(self) -> None:
        """Start the helper, without waiting until it is ready."""
        with self._turn:
            self._ended.clear()
            if self._at_home:
                self._pipeline.start()
            elif self._child is None:
                self._spawn()

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Have a batch handled, and wait until it is."""
        with self._turn:
            if self._ready():
                self._hand_over(tally, batch)
            elif self._at_home:
                self._pipeline.handle(tally, batch)
            else:
                tally.dropped("stopped", len(batch))

    def stop(self) -> None:
        """End the helper, once its detectors have written their last checkpoints."""
        self._ended.set()
        child, self._child = self._child, None
        if child is not None:
            child.link.finish()
            patience = self._config.queue.drain_seconds + _LAST_WORDS_SECONDS
            if self._turn.acquire(blocking=False):
                child.link.connection.settimeout(patience)
                while self._answer(child) is not None:
                    pass
                self._turn.release()
            try:
                child.process.wait(patience)
            except subprocess.TimeoutExpired:
                log.warning("the helper process did not end by itself, and is killed")
            self._bury(child)
        if self._at_home:
            self._pipeline.stop()

    def after_fork(self) -> None:
        """In a child process: the helper is the parent's; another one is started when it is needed."""
        child = self._child
        if child is not None:
            # The parent's end stays open; here, nobody may hold it open when the parent has ended.
            child.link.connection.close()
            child.process.returncode = 0  # it is not ours to wait for
        self._pipeline.after_fork()
        self._begin()

    def _begin(self) -> None:
        self._child = None
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._pause = 0.0
        self._starts_in_vain = 0

    def _ready(self) -> bool:
        """Whether there is a helper; starts one, after a pause if the last one died."""
        while self._child is None and not self._at_home:
            if self._ended.wait(self._pause):
                return False
            self._spawn()
        return self._child is not None

    def _spawn(self) -> None:
        # Its numbers come to this process's instruments, not into a folder that processes share.
        environment = {name: value for name, value in os.environ.items() if name != MULTIPROCESS_VARIABLE}
        try:
            process, connection = spawn(_PROGRAM, environment)
        except OSError as error:
            self._stay_at_home(f"{type(error).__name__}: {error}")
            return
        child = _Child(process, Link(connection), Incoming(self._instruments))
        with suppress(OSError):  # if it has died already, the first answer will be missing
            child.link.send(Begin(self._config, self._metrics.known()))
        self._child = child

    def _stay_at_home(self, reason: str) -> None:
        log.warning("no helper process can be started (%s); a thread of this process does its work", reason)
        self._at_home = True
        self._pipeline.start()

    def _hand_over(self, tally: Tally, batch: Batch) -> None:
        child = self._child
        if child is None:
            return
        answer = self._work(child, batch)
        if answer is None:
            self._lost(child)
        elif answer.tally is not None:
            tally.add(answer.tally)

    def _work(self, child: _Child, batch: Batch) -> Update | None:
        """The answer to a batch; None if the helper died over it."""
        if not child.ready and self._answer(child) is None:
            return None
        work = Work([block.lengths.tobytes() for block in batch.blocks])
        try:
            child.link.send(work, [block.view for block in batch.blocks])
        except OSError:
            return None
        return self._answer(child)

    def _answer(self, child: _Child) -> Update | None:
        """Take in what the helper says, up to its next answer; the first one says that it has started."""
        while True:
            update: Update | None = child.link.receive()
            if update is None:
                return None
            self._take_in(child, update)
            if update.answers:
                child.ready = True
                return update

    def _catch_up(self) -> None:
        """Take in what the helper said of itself; not while it has a batch in hand, which will bring it."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            child = self._child
            while child is not None and child.link.pending():
                update = child.link.receive()
                if update is None:
                    self._lost(child)
                    return
                child.ready |= update.answers
                self._take_in(child, update)
        finally:
            self._turn.release()

    def _take_in(self, child: _Child, update: Update) -> None:
        try:
            child.incoming.apply(update.changes)
            for line in update.lines:
                logging.getLogger(line.logger).log(line.level, "%s", line.text)
            for event in update.events:
                self._notify(event)
        except Exception:
            log.exception("a message of the helper process could not be taken in")
            self._errors.inc()

    def _lost(self, child: _Child) -> None:
        """A helper died; the next batch starts another one."""
        if self._child is not child:
            return
        self._child = None
        status = self._bury(child)
        self._errors.inc()
        log.error("the helper process died (exit status %s); its detectors begin anew", status)
        self._starts_in_vain = 0 if child.ready else self._starts_in_vain + 1
        if time.monotonic() - child.born > _HEALTHY_SECONDS:
            self._pause = 0.0
        self._pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * self._pause))
        if self._starts_in_vain == _STARTS_IN_VAIN:
            self._stay_at_home(f"it ended {_STARTS_IN_VAIN} times before it was ready")

    def _bury(self, child: _Child) -> int:
        child.process.kill()
        status = child.process.wait()
        child.link.close()
        return status

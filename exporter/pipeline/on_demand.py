"""A pipeline that is made when its first batch comes, so that no request waits for a model met on the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from exporter.config import Config
from exporter.errors import InferenceExporterError
from exporter.pipeline.findings import summary
from exporter.pipeline.ledger import Tally
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batch

log = logging.getLogger(__name__)


class OnDemand:
    """The way to one model's pipeline, which ``build`` makes out of the model's configuration.

    If it cannot, which the configuration's own check mostly shows before, that is said once, ``on_error`` is
    called, and the model's observations are counted as failed; other models are none the wiser.
    """

    def __init__(
        self, config: Config, build: Callable[[Config], Pipeline], on_error: Callable[[], None]
    ) -> None:
        self._config = config
        self._build = build
        self._on_error = on_error
        self._pipeline: Pipeline | None = None
        self._running = self._useless = False
        self._making = threading.Lock()

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline, made now if need be; raises what keeps it from being made."""
        with self._making:
            if self._pipeline is None:
                pipeline = self._build(self._config)
                if self._running:
                    pipeline.start()
                self._pipeline = pipeline
            return self._pipeline

    @property
    def made(self) -> Pipeline | None:
        """The pipeline, if there is one by now."""
        return self._pipeline

    def start(self) -> None:
        """Begin in this process."""
        self._running = True
        if self._pipeline is not None:
            self._pipeline.start()

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Have a batch handled; what a pipeline that cannot be made leaves out is counted as failed."""
        if self._useless:
            return
        try:
            pipeline = self.pipeline
        except Exception as error:
            self._useless = True
            self._on_error()
            known = isinstance(error, InferenceExporterError)
            text = "nothing is observed of model %s, whose configuration cannot serve: %s"
            log.error(text, self._config.identity, error, exc_info=not known)
            return
        pipeline.handle(tally, batch)

    @property
    def exchanges(self) -> int:
        """How many exchanges there were; another number says that :meth:`status` may be another one."""
        return 0 if self._pipeline is None else self._pipeline.extractor.findings.exchanges

    def status(self) -> dict[str, Any]:
        """What was found in the last exchanges, as :meth:`Findings.status` gives it."""
        return summary() if self._pipeline is None else self._pipeline.status()

    def stop(self) -> None:
        """End, unless it is started again."""
        self._running = False
        if self._pipeline is not None:
            self._pipeline.stop()

    def after_fork(self) -> None:
        """In a child process: forget what is the parent's."""
        self._running = False
        self._making = threading.Lock()
        if self._pipeline is not None:
            self._pipeline.after_fork()

    def reconfigured(self, config: Config) -> Callable[[], None]:
        """Prepare for another configuration of the model; what is returned takes it over, and cannot fail."""
        prepared = None if self._pipeline is None else self._pipeline.reconfigured(config)

        def take_over() -> None:
            self._config = config
            self._useless = False
            if prepared is not None:
                prepared()

        return take_over

"""A configuration becomes a pipeline: which processors there are, and in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from exporter.config import Config
from exporter.decoders.registry import make_reader
from exporter.drift.detectors import check_detector
from exporter.metrics.instruments import Instruments, InvalidValues
from exporter.observation import DriftEvent
from exporter.pipeline.pipeline import Pipeline
from exporter.processors.drift import Drift
from exporter.processors.forward.collector import Collector
from exporter.processors.predictions import Predictions


def make_pipeline(
    config: Config,
    instruments: Instruments,
    *,
    notify: Callable[[DriftEvent], None] = lambda _: None,
    known_classes: Iterable[str] = (),
    apart: bool = False,
    clock: Callable[[], float] = time.time,
) -> Pipeline:
    """One model's pipeline; parameters and errors are those of :class:`Pipeline` and of its processors.

    To a collector, if there is one, and then neither into this process's metrics nor to detectors of its own.
    """
    refuse = InvalidValues(instruments, config.identity)
    if config.collector is not None:
        collector = Collector(config.collector, config.queue, instruments)
        return Pipeline(config, instruments, [collector], refuse=refuse, apart=apart)
    predictions = Predictions(config, instruments, known_classes=known_classes, clock=clock)
    drift = Drift(config, instruments, notify=notify, clock=clock)
    worth = drift.worth_embedding
    return Pipeline(
        config, instruments, [predictions, drift], refuse=refuse, worth_embedding=worth, apart=apart
    )


def check_pipeline(config: Config) -> None:
    """Raise what :func:`make_pipeline` would, as far as files and settings tell, without making anything.

    Of an embedder the file is looked at and no more: loading a model takes seconds, and memory that is kept.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If something that the configuration names cannot serve.
    """
    make_reader(config.capture)
    if config.capture.embedder is not None:
        from exporter.embedders.embedder import check_file

        check_file(config.capture.embedder)
    for entry in config.drift:
        check_detector(entry)

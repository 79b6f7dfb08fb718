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
from exporter.pipeline.processor import Processor
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
    """One model's pipeline.

    Where the configuration names a collector, observations go there, and neither into this process's
    metrics nor to detectors of its own.

    Parameters
    ----------
    config
        The whole configuration.
    instruments
        Where the metrics live.
    notify
        Called on the thread that handles, with each :class:`DriftEvent`.
    known_classes
        Classes that are shown under their own names already.
    apart
        As of :class:`Pipeline`.
    clock
        Seconds since the epoch.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If something that the configuration names cannot serve.
    """
    processors: list[Processor]
    worth_embedding: Callable[[float], bool | None]
    if config.collector is not None:
        processors, worth_embedding = [Collector(config, instruments)], _always
    else:
        predictions = Predictions(config, instruments, known_classes=known_classes, clock=clock)
        drift = Drift(config, instruments, notify=notify, clock=clock)
        processors, worth_embedding = [predictions, drift], drift.worth_embedding
    return Pipeline(
        config,
        instruments,
        processors,
        refuse=InvalidValues(instruments, config.model),
        worth_embedding=worth_embedding,
        apart=apart,
    )


def check_pipeline(config: Config) -> None:
    """Raise what :func:`make_pipeline` would, as far as files and settings tell, without making anything.

    References are read and let go; of an embedder the file is looked at and no more, since loading a
    model takes seconds, and memory that is not given back.

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


def _always(_: float) -> bool:
    return True

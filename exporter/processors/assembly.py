"""A configuration becomes a pipeline: which processors there are, and in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from exporter.config import Config
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

    Where the configuration names a collector, observations go there, and neither into this process's
    metrics nor to detectors of its own.
    """
    refuse = InvalidValues(instruments, config.model)
    if config.collector is not None:
        return Pipeline(config, instruments, [Collector(config, instruments)], refuse=refuse, apart=apart)
    predictions = Predictions(config, instruments, known_classes=known_classes, clock=clock)
    drift = Drift(config, instruments, notify=notify, clock=clock)
    return Pipeline(
        config,
        instruments,
        [predictions, drift],
        refuse=refuse,
        worth_embedding=drift.worth_embedding,
        apart=apart,
    )

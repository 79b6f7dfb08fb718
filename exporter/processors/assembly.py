"""Configurations become pipelines: which processors there are, in which order, and what pipelines share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from exporter.config import Config
from exporter.decoders.registry import make_reader
from exporter.drift.detectors import check_detector
from exporter.metrics.instruments import Instruments, InvalidValues
from exporter.model import ModelId
from exporter.observation import DriftEvent
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.processor import Processor
from exporter.processors.drift import Drift
from exporter.processors.forward.collector import Collector, Forward
from exporter.processors.labels import LabelJoiner, Labels
from exporter.processors.predictions import Predictions


class Assembly:
    """Makes the pipelines of a process's models, each out of the model's own configuration.

    What they share is made once: the way to a collector, and for the versions of a model the memory of
    its late labels, which name no version. ``with_labels`` says whether there may be any; the other
    parameters are those of :class:`Pipeline` and its processors.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        *,
        notify: Callable[[DriftEvent], None] = lambda _: None,
        with_labels: bool = False,
        apart: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._instruments = instruments
        self._notify = notify
        self._with_labels = with_labels
        self._apart = apart
        self._clock = clock
        self._collector = (
            None if config.collector is None else Collector(config.collector, config.queue, instruments)
        )
        self._joiners: dict[str, LabelJoiner] = {}

    def pipeline(self, config: Config, known_classes: Iterable[str] = ()) -> Pipeline:
        """One model's pipeline; parameters and errors are those of :class:`Pipeline` and of its processors.

        To a collector, if there is one, and then neither into this process's metrics nor to detectors of its
        own.
        """
        instruments, clock = self._instruments, self._clock
        refuse = InvalidValues(instruments, config.identity)
        processors: list[Processor]
        if self._collector is not None:
            processors = [Forward(self._collector, config.identity)]
            return Pipeline(config, instruments, processors, refuse=refuse, apart=self._apart)
        predictions = Predictions(config, instruments, known_classes=known_classes, clock=clock)
        drift = Drift(config, instruments, notify=self._notify, clock=clock)
        processors = [predictions, drift]
        if self._with_labels:
            processors.append(self.labels(config))
        return Pipeline(
            *(config, instruments, processors),
            refuse=refuse,
            worth_embedding=drift.worth_embedding,
            features_tested=lambda: drift.tests,
            apart=self._apart,
        )

    def labels(self, config: Config) -> Labels:
        """What joins a model's labels, with the predictions of any of its versions."""
        # With 0, until a report says when.
        self._instruments["inference_exporter_model_training_timestamp_seconds"].labels(*config.identity)
        joiner = self._joiners.setdefault(config.model, LabelJoiner(config.labels))
        return Labels(joiner, config.identity, self._instruments)


def make_pipeline(
    config: Config,
    instruments: Instruments,
    *,
    notify: Callable[[DriftEvent], None] = lambda _: None,
    apart: bool = False,
    clock: Callable[[], float] = time.time,
) -> Pipeline:
    """The pipeline of the one model that there is; as :meth:`Assembly.pipeline`."""
    return Assembly(config, instruments, notify=notify, apart=apart, clock=clock).pipeline(config)


def check_pipeline(config: Config) -> None:
    """Raise what making a model's pipeline would, as far as files and settings tell, without making anything.

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


def check_pipelines(config: Config) -> None:
    """The same for every model that there may be: those that are named, and one of each pattern."""
    names = dict.fromkeys((config.unnamed, *config.models))
    for name in names if config.is_open else config.named:
        check_pipeline(config.of(ModelId(name)))

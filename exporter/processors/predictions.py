"""What a model predicted, put into metrics: classes, confidence, values, and how late they got here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from exporter.config import Config
from exporter.metrics.instruments import Instruments, ModelInstruments
from exporter.metrics.private import observe_all
from exporter.observation import Observation
from exporter.pipeline.processor import Outcomes, Processor


class Predictions(Processor):
    """Counts one model's predictions.

    ``known_classes`` are shown under their own names already, within ``capture.max_classes``; ``clock`` gives
    seconds since the epoch.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        *,
        known_classes: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.metrics = ModelInstruments(
            instruments,
            config.identity,
            max_classes=config.capture.max_classes,
            value_buckets=config.capture.value_buckets,
        )
        self.metrics.know(known_classes)
        self._clock = clock

    def start(self) -> None:
        """Go on with the classes that are shown, whoever counted them: a helper process, say."""
        self.metrics.know(self.metrics.known())

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:  # noqa: ARG002
        """Put a batch into the metrics."""
        metrics = self.metrics
        ended = np.array([item.timestamp for item in observations])
        observe_all(metrics.lag_seconds, np.maximum(self._clock() - ended, 0.0))
        observe_all(
            metrics.confidence, [item.confidence for item in observations if item.confidence is not None]
        )
        observe_all(metrics.value, [item.value for item in observations if item.value is not None])
        for name, n in Counter([item.predicted_class for item in observations]).items():
            if name is not None:
                metrics.count_class(name, n)

    def reconfigured(self, config: Config) -> Callable[[], None]:
        """Another bound of classes."""

        def take_over() -> None:
            self.metrics.max_classes = config.capture.max_classes

        return take_over

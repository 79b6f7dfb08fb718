"""Predictions in the metrics: the bound of classes holds whoever counts them."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from exporter.config import CaptureConfig, Config
from exporter.metrics.instruments import Instruments
from exporter.observation import Observation
from exporter.pipeline.processor import Outcomes
from exporter.processors.predictions import Predictions

CONFIG = Config(model="m", capture=CaptureConfig(max_classes=3))


def classes(*names: str) -> list[Observation]:
    return [Observation("m", "hook", predicted_class=name) for name in names]


@pytest.mark.parametrize("told", [True, False])
def test_classes_that_are_shown_count_within_the_bound(told: bool):
    registry = CollectorRegistry()
    instruments = Instruments(registry)
    before = Predictions(CONFIG, instruments)
    before.process(classes("a", "b", "c", "d"), Outcomes())
    if told:  # another process's: its own instruments have shown nothing yet
        registry = CollectorRegistry()
        instruments = Instruments(registry)
    after = Predictions(CONFIG, instruments, known_classes=before.metrics.known() if told else ())
    after.start()
    after.process(classes("a", "x", "y", "z", "other"), Outcomes())
    shown = {
        sample.labels["class_name"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "predicted_class_total"
    }
    expected = {"a": 1, "b": 0, "c": 0, "other": 4} if told else {"a": 2, "b": 1, "c": 1, "other": 5}
    assert shown == expected

"""Each detector has its line in the registry and its section in the configuration, by one key."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from exporter.config.drift import DETECTOR_CONFIGS, DetectorConfig
from exporter.detectors.registry import DETECTORS

NEEDED = {"alibi": {"reference": Path("saved")}}


def test_registry_and_configuration_know_the_same_detectors() -> None:
    assert set(DETECTORS) == set(DETECTOR_CONFIGS)


@pytest.fixture(params=DETECTORS)
def entry(request: pytest.FixtureRequest) -> DetectorConfig:
    key: str = request.param
    return DETECTOR_CONFIGS[key].model_validate({"detector": key, **NEEDED.get(key, {})})


def test_settings_are_arguments_of_what_makes_the_detector(entry: DetectorConfig) -> None:
    made = DETECTORS[entry.detector]
    calls = [(made.fit, entry.fit_settings), (made.open or made.load, entry.load_settings)]
    for make, settings in calls:
        assert (make is None) == (not settings)
        if make is not None:
            inspect.signature(make).bind("reference", **settings)


def test_every_key_of_an_entry_reaches_something(entry: DetectorConfig) -> None:
    """What no code reads would silently do nothing."""
    shared = {"detector", "name", "reference", "sample", "checkpoint", "checkpoint_interval"}
    how_often = {"false_alarm_interval"} if "expected_run_length" in entry.fit_settings else set()
    read = shared | how_often | entry.fit_settings.keys() | entry.load_settings.keys()
    assert set(type(entry).model_fields) <= read

"""Observations are values: however they were made, they are equal, frozen, and travel."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from exporter.observation import Observation, observation_of, observations_of

GIVEN = {
    "predicted_class": "cat",
    "confidence": 0.5,
    "value": 2.0,
    "embedding": (1.0,),
    "features": {"a": 1},
    "request_id": "7",
    "feature_names": ("a",),
}


@pytest.mark.parametrize("given", [GIVEN, {}, {"value": 2.0}])
def test_one_made_quickly_is_like_any_other(given: dict[str, object]):
    quick = observation_of("m", "hook", 1.5, 0.25, given)
    slow = Observation("m", "hook", 1.5, latency_seconds=0.25, **given)
    assert type(quick) is Observation
    assert quick == slow
    assert repr(quick) == repr(slow)
    assert pickle.loads(pickle.dumps(quick)) == slow
    assert dataclasses.replace(quick, model="n") == dataclasses.replace(slow, model="n")


def test_every_field_is_set():
    made = observation_of("m", "hook", 1.5, 0.25, GIVEN)
    assert None not in dataclasses.astuple(made)


def test_one_made_quickly_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        observation_of("m", "hook", 1.0, None, {}).value = 1.0  # type: ignore[misc]


def test_made_from_columns_it_is_what_it_would_be_one_by_one():
    columns = {"predicted_class": ["a", "b"], "confidence": [0.5, None], "request_id": ["1", "2"]}
    assert observations_of("m", "record", 5.0, 2, columns) == [
        Observation("m", "record", 5.0, predicted_class="a", confidence=0.5, request_id="1"),
        Observation("m", "record", 5.0, predicted_class="b", request_id="2"),
    ]

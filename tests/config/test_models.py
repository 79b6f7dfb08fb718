"""What is set for a model lies over what is set for all; its own name wins over a pattern."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.config import Config
from exporter.config.loading import load_config
from exporter.mixin.terms import Terms
from exporter.model import OTHER, ModelId

P = "INFERENCE_EXPORTER__"


def loaded(**keys: Any) -> Config:
    return load_config({"model": "auto", **keys}, environment={})


def test_keys_that_are_left_out_are_as_for_all():
    config = loaded(
        capture={"max_classes": 7, "payload": "torchserve", "paths": ["/x"]},
        queue={"max_items": 9, "flush_interval_seconds": 3},
        drift=[{"window": 20}],
        models={"a": {"capture": {"max_classes": 3}, "queue": {"max_bytes": "1KiB"}}, "b": {"drift": []}},
    )
    a, b, c = (config.of(ModelId(name)) for name in "abc")
    assert (a.capture.max_classes, a.capture.payload, a.capture.paths) == (3, "torchserve", ("/x",))
    assert (a.queue.max_items, a.queue.max_bytes, a.queue.flush_interval_seconds) == (9, 1024, 3)
    assert a.drift == c.drift == config.drift
    assert b.drift == ()
    assert (b.capture, c.queue) == (config.capture, config.queue)
    assert [each.model for each in (a, b, c)] == ["a", "b", "c"]


def test_buckets_of_a_model_are_its_own():
    models = {"a": {"capture": {"value_buckets": [1, 2]}}, "b": {"capture": {"value_buckets": []}}, "c": {}}
    config = loaded(capture={"value_buckets": [5, 6], "max_classes": 7}, models=models)
    buckets = {name: config.of(ModelId(name)).capture.value_buckets for name in "abcd"}
    assert buckets == {"a": (1.0, 2.0), "b": (), "c": (5.0, 6.0), "d": (5.0, 6.0)}
    assert config.of(ModelId("a")).capture.max_classes == 7


def test_a_name_of_its_own_wins_then_the_first_pattern_that_fits():
    versions = {"food-*": "1", "food-1?": "2", "food-11": "3", "[xy]": "4"}
    config = loaded(models={name: {"version": version} for name, version in versions.items()})
    names = {"food-11": "3", "food-12": "1", "x": "4", "z": "", "Food-1": ""}
    assert {name: config.fixed_version(name) for name in names} == names


def test_what_is_left_over_has_no_detectors_unless_it_is_given_some():
    drift = [{"window": 20}]
    assert loaded(drift=drift).of(ModelId(OTHER)).drift == ()
    assert loaded(drift=drift, version="auto").of(ModelId("a", OTHER)).drift == ()
    assert loaded(drift=drift, models={"*": {"drift": drift}}).of(ModelId(OTHER)).drift == ()
    given = loaded(models={"other": {"drift": drift}}).of(ModelId(OTHER))
    assert given.drift[0].windows == (20,)


@pytest.mark.parametrize(
    ("keys", "only", "named", "is_open"),
    [
        ({"model": "m"}, "m", ["m"], False),
        ({}, None, [], True),
        ({"models": {"a": {}}}, None, ["a"], True),
        ({"model": "m", "models": {"a": {}}}, None, ["m", "a"], False),
        ({"model": "m", "models": {"m": {}, "a-*": {}}}, None, ["m"], True),
    ],
)
def test_which_models_there_are(keys: dict[str, Any], only: str | None, named: list[str], is_open: bool):
    config = loaded(**keys)
    assert (config.only, config.named, config.is_open) == (only, named, is_open)
    assert Terms.of(config).model == only  # rules for one model alone, or for every one


def test_the_environment_reaches_a_model():
    config = load_config(
        {"model": "auto", "models": {"iris": {"capture": {"max_classes": 3}}}},
        environment={P + "MODELS__IRIS__QUEUE__MAX_ITEMS": "5", P + "MODELS__WINE": "{drift: []}"},
    )
    assert config.of(ModelId("iris")).queue.max_items == 5
    assert config.of(ModelId("iris")).capture.max_classes == 3
    assert config.named == ["iris", "wine"]

"""Many models in one process: each its own series, queue, ledger and detectors; nothing of one in another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import exporter.drift.calibrator
import exporter.drift.watch
from exporter.config import Config
from exporter.config.loading import load_config
from exporter.errors import InvalidReference
from exporter.http.exchange import Exchange
from exporter.model import ModelId, can_be_label
from exporter.observation import Observation
from exporter.pipeline.monitor import Monitor
from exporter.processors.drift import Drift
from exporter.references.reference import Origin
from exporter.runtime import Runtime
from tests.streams import D, PlainDetector, Samples, normal

WAIT = 20.0
QUEUE = {"flush_interval_seconds": 0.001}


def loaded(**keys: Any) -> Config:
    queue = QUEUE | keys.pop("queue", {})
    return load_config({"model": "auto", "drift": [], "queue": queue, **keys}, environment={})


@pytest.fixture
def make() -> Iterator[Callable[..., Runtime]]:
    made: list[Runtime] = []

    def new(*, runtime: dict[str, Any] | None = None, **keys: Any) -> Runtime:
        made.append(Runtime(loaded(**keys), **(runtime or {})))
        return made[-1]

    yield new
    for each in made:
        each.stop()


def exchange(path: str, answer: Any = None, request: Any = None, given: Any = ()) -> Exchange:
    made = Exchange("POST", path, max_body_bytes=4096, started=1.0)
    made.request_chunk(orjson.dumps(request or {}))
    made.response_start(200, tuple(given))
    made.response_chunk(orjson.dumps({"prediction": "cat"} if answer is None else answer))
    made.finish(2.0)
    return made


def of(name: str, answer: Any = None) -> Exchange:
    return exchange(f"/v2/models/{name}/infer", answer)


def settle(runtime: Runtime) -> None:
    for monitor in runtime.models.all:
        assert monitor.worker.drain(WAIT)
        assert monitor.ledger.balance().balanced


def send(runtime: Runtime, *items: Any) -> None:
    for item in items:
        assert runtime.submit(item, "hook")
    settle(runtime)


def processed(runtime: Runtime) -> dict[str, int]:
    """What was processed of each model that has anything, as a scrape shows it."""
    return {
        str(ModelId(sample.labels["model"], sample.labels["version"])): int(sample.value)
        for metric in runtime.registry.collect()
        for sample in metric.samples
        if sample.name == "inference_exporter_processed_total" and sample.value
    }


def series(runtime: Runtime) -> Counter[str]:
    """How many series each model has."""
    return Counter(
        sample.labels["model"]
        for metric in runtime.registry.collect()
        for sample in metric.samples
        if "model" in sample.labels
    )


def monitor(runtime: Runtime, name: str) -> Monitor:
    (found,) = runtime.models.of_name(name)
    return found


def test_each_name_of_the_protocol_is_a_model_up_to_the_bound(make: Callable[..., Runtime]):
    runtime = make(max_models=3)
    send(runtime, of("a"), of("b"), of("a"), of("c"), of("d"), of("e"), exchange("/predict"))
    assert processed(runtime) == {"a": 2, "b": 1, "c": 1, "other": 2, "model": 1}
    send(runtime, of("d"), of("b"), exchange("/predict"))
    assert processed(runtime) == {"a": 2, "b": 2, "c": 1, "other": 3, "model": 2}


def test_a_model_met_on_the_way_shows_what_a_configured_one_does(make: Callable[..., Runtime]):
    runtime = make(models={"named": {}}, drift=[{"reference": {"learn": 100_000}}])
    assert set(series(runtime)) == {"named", "other"}
    send(runtime, of("met"), of("named"))
    shown = series(runtime)
    assert shown["met"] == shown["named"]
    value = Samples(runtime.registry, "met")
    assert value("inference_exporter_dropped_total", reason="queue_full") == 0
    assert value("drift_detector_state", detector="mmd", state="learning") == 1


def test_what_is_left_over_is_counted_but_not_tested(make: Callable[..., Runtime]):
    runtime = make(max_models=1, drift=[{"reference": {"learn": 100_000}}])
    send(runtime, of("a"), of("b"))
    assert Samples(runtime.registry, "a")("drift_active", detector="mmd") == 0
    assert Samples(runtime.registry, "other")("drift_active", detector="mmd") is None
    assert Samples(runtime.registry, "other")("predicted_class_total", class_name="cat") == 1


def test_a_fixed_name_stays_whatever_the_protocol_says(make: Callable[..., Runtime]):
    runtime = make(model="mine")
    send(runtime, of("a"), exchange("/predict", request={"model": "b"}), Observation("c", "hook", value=1.0))
    assert processed(runtime) == {"mine": 3}


def test_models_that_are_listed_are_kept_apart_and_the_rest_is_the_default_one(make: Callable[..., Runtime]):
    runtime = make(model="mine", models={"a": {}, "food-*": {}}, max_models=3)
    send(runtime, of("a"), of("stranger"), of("food-1"), of("food-2"), of("bad%0Aname"))
    assert processed(runtime) == {"a": 1, "mine": 1, "food-1": 1, "other": 2}


def test_what_is_set_for_a_model_lies_over_what_is_set_for_all(make: Callable[..., Runtime]):
    runtime = make(
        capture={"max_classes": 1, "payload": "fields", "fields": {"predicted_class": "c"}},
        models={
            "two-*": {"capture": {"max_classes": 2}},
            "two-b": {"capture": {"payload": "auto"}},
            "*-x": {"drift": [{"name": "own", "reference": {"learn": 100_000}}]},
        },
    )
    for name in ("one", "two-a", "one-x"):
        send(runtime, *(of(name, {"c": text}) for text in ("p", "q", "r")))
    send(runtime, of("two-b", {"prediction": "p"}))
    shown = {
        name: Samples(runtime.registry, name)("predicted_class_total", class_name="other")
        for name in ("one", "two-a", "one-x", "two-b")
    }
    assert shown == {"one": 2, "two-a": 1, "one-x": 2, "two-b": 0}
    assert Samples(runtime.registry, "one-x")("drift_active", detector="own") == 0
    assert Samples(runtime.registry, "one")("drift_active", detector="own") is None


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | st.sampled_from(["", "a\nb", "x" * 10_240, "\ud800", "other", "auto"]))
def test_no_name_from_outside_breaks_a_scrape_or_is_lost(name: str):
    runtime = Runtime(loaded(max_models=2))
    try:
        assert runtime.submit(Observation(name, "hook", value=1.0), "hook")
        assert runtime.submit(Observation("m", "hook", value=1.0), "hook", model=name)
        settle(runtime)
        assert runtime.render()[1]
        assert sum(processed(runtime).values()) == 2
        (kept,) = processed(runtime)
        assert kept in (name, "other", "model")
        assert kept == name or not can_be_label(name) or name == "auto"
    finally:
        runtime.stop()


def test_names_that_are_none_are_counted_as_such_and_said_once(
    make: Callable[..., Runtime], caplog: pytest.LogCaptureFixture
):
    runtime = make()
    send(runtime, *(of(name) for name in ("a%0Ab", "x" * 300, "fine")))
    other = Samples(runtime.registry, "other")
    assert other("inference_exporter_invalid_values_total", field="model", reason="not_a_name") == 2
    assert processed(runtime) == {"other": 2, "fine": 1}
    assert caplog.text.count("is no name") == 1


def test_versions(make: Callable[..., Runtime]):
    runtime = make(version="auto", max_versions=2)
    v2 = {"prediction": "cat", "model_version": "2"}
    send(
        runtime,
        exchange("/v2/models/a/versions/1/infer"),
        of("a", v2),
        of("a", v2),
        of("a", {**v2, "model_version": "3"}),
        of("a"),
        of("b", {**v2, "model_version": "3"}),
        Observation("a", "hook", value=1.0, version="2"),
        of("a", {**v2, "model_version": "x\ny"}),
    )
    assert processed(runtime) == {"a 1": 1, "a 2": 3, "a other": 2, "a": 1, "b 3": 1}
    left_over = runtime.registry.get_sample_value(
        "inference_exporter_invalid_values_total",
        {"model": "a", "version": "other", "field": "version", "reason": "not_a_name"},
    )
    assert left_over == 1


def test_a_version_out_of_a_header_and_one_of_the_configuration(make: Callable[..., Runtime]):
    runtime = make(model="m", version="header:x-version", models={"old": {"version": "1.0"}})
    send(
        runtime,
        exchange("/predict", given=[(b"x-version", b"7")]),
        exchange("/predict"),
        exchange("/predict", request={"model": "old"}, given=[(b"x-version", b"7")]),
    )
    assert processed(runtime) == {"m 7": 1, "m": 1, "old 1.0": 1}


def test_thirty_models_share_a_thread_and_nothing_else(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
):
    """One overflows, one's values are bad, one's detector raises, one's bodies are unreadable."""

    def broken() -> None:
        raise RuntimeError("no")

    names = [f"m{n:02}" for n in range(30)]
    detectors = {name: PlainDetector((2,)) for name in names}
    detectors["m02"].before_update = broken
    waiting = iter(names)
    monkeypatch.setattr(
        exporter.drift.watch, "load_detector", lambda *_: (detectors[next(waiting)], Origin())
    )
    before = threading.active_count()
    runtime = make(
        max_models=30,
        models={name: {} for name in names} | {"m00": {"queue": {"max_items": 5}}},
        drift=[{"reference": {"learn": 100_000}, "window": 2}],
        queue={"flush_interval_seconds": 60.0, "drain_seconds": WAIT},  # nothing is taken out before the stop
    )
    row = [9.0] * D
    good = {"prediction": "cat", "probability": 0.9, "embedding": row}
    for _ in range(10):
        for name in names:
            answer = {
                "m01": {**good, "probability": 7.0},
                "m03": {"nothing": "here"},
            }.get(name, good)
            runtime.submit(of(name, answer), "hook")
    assert threading.active_count() == before + 1
    runtime.stop()
    assert threading.active_count() == before
    assert monitor(runtime, "m00").ledger.balance().dropped == {"queue_full": 5}
    text = runtime.render()[1].decode()
    shown = {
        (
            sample.name,
            *(sample.labels[label] for label in sorted(sample.labels) if label != "version"),
        ): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name in names[4:]:
        balance = monitor(runtime, name).ledger.balance()
        assert (balance.observed, balance.processed, balance.dropped) == (10, 10, {})
        assert shown["prediction_confidence_count", name].value == 10
        assert shown["drift_test_stat_count", "mmd", name].value == 10 - 1
        assert shown["drift_active", "mmd", name].value == 1
        assert shown["drift_detector_state", "mmd", name, "ready"].value == 1
    refused = "inference_exporter_invalid_values_total"
    assert shown[refused, "confidence", "m01", "out_of_range"].value == 10
    assert shown["drift_test_stat_count", "mmd", "m01"].value == 9
    assert shown["drift_detector_state", "mmd", "m02", "failed"].value == 1
    assert shown["prediction_confidence_count", "m02"].value == 10
    assert monitor(runtime, "m03").ledger.balance().dropped == {"no_prediction": 10}


def test_one_that_overflows_takes_no_place_from_others(make: Callable[..., Runtime]):
    runtime = make(queue={"max_bytes": 400_000, "flush_interval_seconds": 0.001}, max_models=8)
    entered, release = threading.Event(), threading.Event()

    def hold(_: Exchange) -> list[Any]:
        entered.set()
        assert release.wait(WAIT)
        return [{"predicted_class": "x"}]

    send(runtime, of("greedy"), *(of(f"m{n}") for n in range(7)))
    runtime.pipelines("greedy")[0].extractor.read = hold
    assert runtime.submit(of("greedy"), "hook")
    assert entered.wait(WAIT)
    big = of("greedy", {"prediction": "c" * 3000})
    taken = [runtime.submit(big, "hook") for _ in range(300)]
    assert taken.count(True) < 300
    # Its share, and the half that is lent to whoever comes first, are full; the others have their share.
    for n in range(7):
        assert all(runtime.submit(of(f"m{n}"), "hook") for _ in range(20))
    held = sum(each.worker.queued_bytes for each in runtime.models.all)
    assert held <= 400_000
    release.set()
    settle(runtime)
    assert set(monitor(runtime, "greedy").ledger.balance().dropped) == {"queue_bytes"}
    for n in range(7):
        assert monitor(runtime, f"m{n}").ledger.balance().processed == 21
    # What was lent came back.
    assert all(runtime.submit(of("m1", {"prediction": "c" * 3000}), "hook") for _ in range(40))


def test_a_pipeline_that_cannot_be_made_costs_its_own_model_only(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    runtime = make(drift=[{"reference": {"learn": 100_000}}])
    init = Drift.__init__

    def fail(self: Drift, config: Config, *args: Any, **more: Any) -> None:
        if config.model == "broken":
            raise InvalidReference("reference: it is gone; put it back")
        init(self, config, *args, **more)

    monkeypatch.setattr(Drift, "__init__", fail)
    send(runtime, of("broken"), of("fine"), of("broken"))
    assert processed(runtime) == {"fine": 1}
    assert monitor(runtime, "broken").ledger.balance().dropped == {"failed": 2}
    assert caplog.text.count("nothing is observed of model broken") == 1


def test_a_named_model_that_cannot_serve_stops_the_start_and_leaves_no_trace(tmp_path: Any):
    with pytest.raises(InvalidReference):
        Runtime(loaded(models={"a": {"drift": [{"reference": str(tmp_path / "none.npy")}]}}))
    runtime = Runtime(loaded(model="fine"))
    before = series(runtime)
    with pytest.raises(InvalidReference):
        runtime.reconfigure(loaded(model="fine", models={"a": {"drift": [{"reference": "none.npy"}]}}))
    assert series(runtime) == before
    send(runtime, of("a"))
    assert processed(runtime) == {"fine": 1}
    runtime.stop()


def test_a_model_that_goes_takes_its_series_with_it(make: Callable[..., Runtime]):
    drift = [{"reference": {"learn": 100_000}}]
    runtime = make(model="a", models={"b": {}, "x-*": {}}, drift=drift)
    send(runtime, of("a"), of("b"), of("x-1"))
    kept = runtime.pipelines("b")[0].find(Drift)
    runtime.reconfigure(loaded(model="renamed", models={"b": {"capture": {"max_classes": 1}}}, drift=drift))
    assert set(series(runtime)) == {"renamed", "b"}
    assert runtime.pipelines("b")[0].find(Drift) is kept
    send(runtime, of("a"), of("b", {"prediction": "dog"}), of("x-1"))
    assert processed(runtime) == {"renamed": 2, "b": 2}
    assert Samples(runtime.registry, "b")("predicted_class_total", class_name="other") == 1
    runtime.reconfigure(loaded(drift=drift))
    assert set(series(runtime)) == {"renamed", "b", "other"}  # met by now, and auto takes every name
    runtime.reconfigure(loaded(model="renamed", version="2", drift=drift))
    assert set(series(runtime)) == {"renamed"}
    send(runtime, of("b"))
    assert processed(runtime) == {"renamed 2": 1}


def test_calibrations_come_one_after_the_other(make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch):
    at_once: list[int] = []
    under_way: list[object] = []

    def fit(*_: Any) -> PlainDetector:
        under_way.append(object())
        at_once.append(len(under_way))
        threading.Event().wait(0.01)
        under_way.pop()
        return PlainDetector()

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    runtime = make(drift=[{"reference": {"learn": 40}, "window": 2}])
    names = [f"m{n}" for n in range(6)]
    for row in normal(40):
        send(runtime, *(of(name, {"prediction": "x", "embedding": row.tolist()}) for name in names))
    for name in names:
        drift = runtime.pipelines(name)[0].find(Drift)
        assert drift is not None
        assert drift.watches[0].join_calibration(WAIT)
        assert drift.watches[0].state == "filling"
    assert at_once == [1] * 6


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(2, 20), st.booleans())
def test_every_ledger_is_exact_at_any_scrape(threads: int, each: int, bound: int, restart: bool):
    runtime = Runtime(loaded(max_models=3, queue={"max_items": bound, "flush_interval_seconds": 0.0001}))
    barrier = threading.Barrier(threads + 1)
    wrong: list[Any] = []

    def submit(seed: int) -> None:
        barrier.wait()
        for n in range(each):
            runtime.submit(of(f"m{(seed + n) % 5}", {"prediction": "x"} if n % 3 else {}), "hook")

    def scrape() -> None:
        found: dict[str, Counter[str]] = {}
        for metric in runtime.registry.collect():
            for sample in metric.samples:
                if "model" in sample.labels:
                    found.setdefault(sample.labels["model"], Counter())[sample.name] += int(sample.value)
        for name, values in found.items():
            prefix = "inference_exporter_"
            ends = ("processed_total", "dropped_total", "sampled_out_total", "queued")
            if values[f"{prefix}observations_total"] != sum(values[prefix + end] for end in ends):
                wrong.append((name, values))

    submitting = [threading.Thread(target=submit, args=(n,)) for n in range(threads)]
    for thread in submitting:
        thread.start()
    barrier.wait()
    scrape()
    if restart:
        runtime.stop()
        scrape()
        runtime.start()
    for thread in submitting:
        thread.join(WAIT)
        scrape()
    runtime.stop()
    scrape()
    assert wrong == []
    balances = [each.ledger.balance() for each in runtime.models.all]
    assert sum(balance.observed for balance in balances) == threads * each
    assert sum(balance.queued for balance in balances) == 0


def test_embeddings_of_one_model_reach_no_detector_of_another(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
):
    made: list[PlainDetector] = []
    monkeypatch.setattr(
        exporter.drift.watch,
        "load_detector",
        lambda *_: (made.append(PlainDetector((2,))) or made[-1], Origin()),
    )
    runtime = make(models={"a": {}, "b": {}}, drift=[{"reference": {"learn": 100_000}, "window": 2}])
    a, b = made[:2]
    send(
        runtime,
        *(Observation("a", "hook", embedding=np.full(D, n)) for n in (1.0, 2.0)),
        Observation("b", "hook", embedding=np.full(D, 5.0)),
    )
    assert (a.seen, b.seen) == ([1.0, 2.0], [5.0])

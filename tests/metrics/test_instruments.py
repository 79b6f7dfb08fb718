"""What a scrape shows: everything known beforehand from the start, and each value where it belongs."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

import exporter.runtime
from exporter.config import Config, LearnConfig, MMDConfig
from exporter.errors import ConfigError
from exporter.metrics.contract import (
    CONTRACT,
    DETECTOR_STATES,
    DROP_REASONS,
    ERROR_STAGES,
    FORWARD,
    HTTP,
    INGEST,
    INVALID_VALUES,
    SIDECAR,
    SOURCES,
)
from exporter.metrics.detector_instruments import DetectorInstruments
from exporter.metrics.instruments import Instruments, InvalidValues, ModelInstruments
from exporter.model import ModelId
from exporter.runtime import Runtime
from exporter.version import __version__
from tests.streams import Samples

GOLDEN = Path(__file__).parent / "golden" / "fresh_metrics.txt"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runtime:
    monkeypatch.setattr(exporter.runtime, "orphan_observes", lambda: 0)  # it counts for the whole process
    entry = MMDConfig(window=(10, 50), reference=LearnConfig(learn=500), checkpoint=tmp_path / "kept.npz")
    return Runtime(Config(model="digits", drift=(entry,)))


def test_a_fresh_exporter_shows_what_it_always_showed(fresh: Runtime):
    """Set UPDATE_GOLDEN=1 to write the file anew, and look at what changed."""
    text = fresh.render()[1].decode().replace(f'version="{__version__}"', 'version="VERSION"')
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_every_name_of_the_contract_is_there_with_its_type(fresh: Runtime):
    families = {family.name: family for family in text_string_to_metric_families(fresh.render()[1].decode())}
    for spec in CONTRACT:
        if spec in (*FORWARD, *INGEST, *SIDECAR, *HTTP):
            continue
        family = families[spec.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (spec.type, spec.help)
        assert family.samples, f"{spec.name} has no sample"


def test_every_child_that_is_known_beforehand_exists_with_zero(fresh: Runtime):
    value = Samples(fresh.registry, "digits")
    for reason in DROP_REASONS:
        assert value("inference_exporter_dropped_total", reason=reason) == 0
    for source in SOURCES:
        assert value("inference_exporter_observations_total", source=source) == 0
    for field, reason in INVALID_VALUES:
        assert value("inference_exporter_invalid_values_total", field=field, reason=reason) == 0
    for stage in ERROR_STAGES:
        assert fresh.registry.get_sample_value("inference_exporter_errors_total", {"stage": stage}) == 0
    for detector in ("mmd_w10", "mmd_w50"):
        for state in DETECTOR_STATES:
            expected = 1 if state == "learning" else 0
            assert value("drift_detector_state", detector=detector, state=state) == expected
        for name in ("drift_active", "drift_events_total", "drift_episodes_total", "drift_test_stat_count"):
            assert value(name, detector=detector) == 0
    assert value("predicted_class_total", class_name="other") == 0


def test_every_sample_has_the_labels_of_the_contract(fresh: Runtime):
    labels = {spec.name: set(spec.labels) for spec in CONTRACT}
    for family in fresh.registry.collect():
        for sample in family.samples:
            name = sample.name if sample.name in labels else re.sub(r"_(bucket|count|sum)$", "", sample.name)
            assert set(sample.labels) - {"le"} == labels[name]


def test_there_are_no_creation_times(fresh: Runtime):
    assert b"_created" not in fresh.render()[1]
    assert b"_created" not in fresh.render("application/openmetrics-text; version=1.0.0")[1]


def test_the_statistic_has_no_sum_since_it_may_be_negative(fresh: Runtime):
    DetectorInstruments(fresh.instruments, ModelId("digits"), "mmd_w10").test_stat.observe(-0.01)
    value = Samples(fresh.registry, "digits")
    assert value("drift_test_stat_sum", detector="mmd_w10") is None
    assert value("drift_test_stat_bucket", detector="mmd_w10", le="-0.01") == 1
    assert value("drift_test_stat_bucket", detector="mmd_w10", le="-0.02") == 0


TAKEN = [
    (
        lambda registry: Histogram("prediction_confidence", "Theirs.", registry=registry),
        "registry: it holds prediction_confidence already, a histogram with no labels ('Theirs.'), and",
    ),
    (
        lambda registry: Counter("predicted_class_total", "Theirs.", ["class_name"], registry=registry),
        "registry: it holds predicted_class_total already, a counter with labels class_name ('Theirs.'), and",
    ),
    (
        # Not the same name, but one of its series.
        lambda registry: Gauge("drift_test_stat_count", "Theirs.", registry=registry),
        "registry: it holds drift_test_stat_count already, a gauge with no labels ('Theirs.'), and",
    ),
    (
        lambda registry: registry.register(_Custom()),
        "registry: it holds inference_exporter_queued already, from a _Custom, and",
    ),
]


class _Custom(Collector):
    def collect(self) -> list[Metric]:
        return [Metric("inference_exporter_queued", "Theirs.", "gauge")]

    describe = collect


@pytest.mark.parametrize(("take", "message"), TAKEN)
@pytest.mark.parametrize("make", [Instruments, Instruments.on])
def test_a_name_that_is_taken_is_an_error_that_says_by_what(make: Any, take: Any, message: str):
    registry = CollectorRegistry()
    take(registry)
    before = list(registry._names_to_collectors)
    with pytest.raises(ConfigError) as error:
        make(registry)
    assert str(error.value).startswith(message)
    assert 'registry=CollectorRegistry(), and expose(app, endpoint="/inference-metrics")' in str(error.value)
    assert list(registry._names_to_collectors) == before


def test_exporters_on_one_registry_share_their_instruments():
    registry = CollectorRegistry()
    one = Instruments.on(registry)
    assert Instruments.on(registry) is one
    assert Instruments.on(CollectorRegistry()) is not one
    with pytest.raises(KeyError):
        one["inference_exporter_forwarded_total"]
    forwarding = Instruments.on(registry, forward=True)
    assert forwarding is one
    sent = one["inference_exporter_forwarded_total"]
    sent.inc()
    assert Instruments.on(registry, forward=True)["inference_exporter_forwarded_total"] is sent
    assert registry.get_sample_value("inference_exporter_forwarded_total") == 1


def test_what_nobody_came_to_use_leaves_the_registry():
    registry = CollectorRegistry()
    instruments = Instruments.on(registry)
    holder = object()
    instruments.claims.claim(ModelId("m"), holder)
    instruments.leave(holder)
    assert list(registry.collect()) == []
    assert Instruments.on(registry) is not instruments


def test_unregistered_they_leave_the_registry_to_others():
    registry = CollectorRegistry()
    Instruments(registry).unregister()
    assert list(registry.collect()) == []
    Instruments(registry)


def test_value_buckets_are_each_models_own():
    registry = CollectorRegistry()
    instruments = Instruments(registry)
    for _ in range(2):  # a restart finds what is there
        mine = ModelInstruments(instruments, ModelId("m"), max_classes=1, value_buckets=(1.0, 2.0))
    ModelInstruments(instruments, ModelId("other"), max_classes=1).value.observe(1.5)
    mine.value.observe(1.5)
    value, other = Samples(registry), Samples(registry, "other")
    bounds = ("1.0", "2.0", "+Inf", "3.0")
    assert [value("prediction_value_bucket", le=le) for le in bounds] == [0, 1, 1, None]
    assert [other("prediction_value_bucket", le=le) for le in bounds] == [0, None, 1, 1]


def test_classes_are_capped():
    registry = CollectorRegistry()
    metrics = ModelInstruments(Instruments(registry), ModelId("m"), max_classes=2)
    for name in ("a", "b", "c", "a", "c", "d"):
        metrics.count_class(name)
    value = Samples(registry)
    assert [value("predicted_class_total", class_name=name) for name in ("a", "b", "other")] == [2, 1, 3]
    assert value("predicted_class_total", class_name="c") is None


def test_a_refusal_outside_of_the_contract_makes_no_label():
    registry = CollectorRegistry()
    refuse = InvalidValues(Instruments(registry), ModelId("m"))
    refuse("confidence", "because")
    refuse("confidence", "not_finite")
    values = [
        sample.labels["reason"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "inference_exporter_invalid_values_total" and sample.value
    ]
    assert values == ["not_finite"]


def test_what_fails_to_refresh_does_not_fail_the_scrape(caplog: pytest.LogCaptureFixture):
    registry = CollectorRegistry()
    instruments = Instruments(registry)
    after: list[int] = []

    def boom() -> None:
        raise RuntimeError("no")

    instruments.before_collect(boom)
    instruments.before_collect(lambda: after.append(1))
    assert list(registry.collect())
    assert after == [1]
    assert "could not be brought up to date" in caplog.text


def test_overlapping_scrapes_see_one_instant_each():
    """Two values that move together are never seen apart, also where two scrapes overlap."""
    registry = CollectorRegistry()
    instruments = Instruments(registry)
    processed = instruments["inference_exporter_processed_total"].labels("m", "")
    sampled = instruments["inference_exporter_sampled_out_total"].labels("m", "")

    def move() -> None:
        processed.inc()
        sampled.inc()

    instruments.before_collect(move)
    apart: list[tuple[float, float]] = []

    def scrape() -> None:
        for _ in range(30):
            values = {sample.name: sample.value for family in registry.collect() for sample in family.samples}
            pair = (
                values["inference_exporter_processed_total"],
                values["inference_exporter_sampled_out_total"],
            )
            if pair[0] != pair[1]:
                apart.append(pair)

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert apart == []

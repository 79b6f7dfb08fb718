"""What the metrics show of a stream beside its verdicts: repeats, atypical observations, dependence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporter.config import MMDConfig
from exporter.detectors import OnlineMMD
from exporter.drift.watch import DriftWatch
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from tests.streams import D, Samples, normal, observations


class Bench:
    def __init__(self, path: Path) -> None:
        registry = CollectorRegistry()
        self.samples = Samples(registry)
        self.events: list[Any] = []
        self.watch = DriftWatch(
            ModelId("m"),
            MMDConfig(reference=path),
            Instruments(registry),
            refuse=lambda *_: None,
            on_event=self.events.append,
        )
        self.watch.start()

    def send(self, rows: Any) -> None:
        self.watch.take(observations(rows))

    def shown(self, name: str, detector: str = "mmd") -> float | None:
        return self.samples(name, detector=detector)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "fitted.npz"
    OnlineMMD.fit(normal(400), window=(3, 5), expected_run_length=1000, seed=1).save(path)
    return path


def test_repeats_are_counted_and_enter_no_window(fitted: Path):
    bench = Bench(fitted)
    rows = normal(10, seed=1)
    bench.send(np.repeat(rows, 3, axis=0))
    assert bench.shown("inference_exporter_repeats_total") == 20
    assert bench.shown("drift_test_stat_count", "mmd_w3") == 8
    assert bench.shown("embedding_atypical_tested_total") == 10


def test_the_members_of_an_alarms_window_are_those_that_were_tested(fitted: Path):
    bench = Bench(fitted)
    bench.send(np.repeat(normal(5, seed=1, shift=6.0), 2, axis=0))
    members = bench.events[-1].least_typical
    assert {int(member.request_id) % 2 for member in members} == {0}, "the second of each pair is a repeat"


def test_atypical_observations_are_counted(fitted: Path):
    bench = Bench(fitted)
    bench.send(normal(200, seed=2))
    usual = bench.shown("embedding_atypical_total")
    assert usual is not None
    assert usual < 15
    bench.send(normal(7, seed=3, shift=9.0))
    assert bench.shown("embedding_atypical_total") == usual + 7
    assert bench.shown("embedding_atypical_tested_total") == 207


def test_how_dependent_the_stream_is_shows_for_each_window(fitted: Path):
    bench = Bench(fitted)
    rows = normal(6000, seed=4)
    for n in range(1, len(rows)):
        rows[n] = 0.8 * rows[n - 1] + 0.6 * rows[n]
    bench.send(rows)
    short, long = (bench.shown("drift_effective_sample_ratio", f"mmd_w{w}") for w in (3, 5))
    assert short is not None
    assert long is not None
    assert 0 < long < short < 0.95


def test_a_stream_that_stands_still_is_not_to_be_trusted_and_said_once(
    fitted: Path, caplog: pytest.LogCaptureFixture
):
    bench = Bench(fitted)
    ok = bench.shown("drift_calibration_ok", "mmd_w3")
    for _ in range(40):
        bench.send(np.ones((10, D)))
    assert bench.shown("drift_calibration_ok", "mmd_w3") == 0
    assert caplog.text.count("false alarms may be more or less frequent than stated") == 1
    bench.send(normal(400, seed=5))
    assert bench.shown("drift_calibration_ok", "mmd_w3") == ok

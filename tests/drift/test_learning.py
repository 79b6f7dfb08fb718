"""From a provisional reference to the lasting one, in a running service; and what it shows on the way."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

import exporter.drift.calibrator
from exporter.config import LearnConfig, MMDConfig, SampleConfig, StretchesConfig
from exporter.drift.learning import in_time
from exporter.drift.watch import DriftWatch
from exporter.errors import InvalidReference
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.observation import Observation
from exporter.references.reference import Reference
from tests.streams import D, PlainDetector, Samples, normal

WAIT = 30.0
PLAN = StretchesConfig(rows=200, over=1000.0, stretch=20, provisional=40)
CONFIG = MMDConfig(window=5, reference=LearnConfig(learn=PLAN), seed=1, expected_run_length=3000)


class Service:
    """A watch, fed with one observation a second."""

    def __init__(self, config: MMDConfig = CONFIG) -> None:
        registry = CollectorRegistry()
        self.samples = Samples(registry)
        self.refused: list[tuple[str, str]] = []
        self.events: list[Any] = []
        self.now = 0.0
        self.watch = DriftWatch(
            ModelId("m"),
            config,
            Instruments(registry),
            refuse=lambda field, reason: self.refused.append((field, reason)),
            on_event=self.events.append,
            clock=lambda: self.now,
        )
        self.watch.start()

    def send(self, rows: np.ndarray, batch: int = 10) -> None:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            observations = [
                Observation("m", "hook", self.now + n, embedding=row) for n, row in enumerate(part, 1)
            ]
            self.now += len(part)
            self.watch.take(observations)
            assert self.watch.join_calibration(WAIT)

    def shown(self, name: str, **labels: str) -> float | None:
        return self.samples(f"drift_{name}", detector="mmd", **labels)

    def source(self) -> str:
        sources = ("none", "loaded", "provisional", "learned", "restored")
        (found,) = [each for each in sources if self.shown("reference_info", source=each)]
        return found


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch):
    """Calibrations give transparent detectors, and are noted."""
    references: list[Reference] = []

    def fit(_: Any, reference: Reference, __: Any) -> PlainDetector:
        references.append(reference)
        return PlainDetector((5,))

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    return references


def test_a_provisional_reference_tests_until_the_lasting_one_is_there(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    service = Service()
    assert (service.samples.state(), service.source()) == ("learning", "none")
    service.send(normal(40))
    assert (service.samples.state(), service.source()) == ("filling", "provisional")
    assert (service.shown("reference_rows"), service.shown("reference_timestamp_seconds")) == (40, 40)
    service.send(normal(10, seed=1))
    assert service.samples.state() == "provisional"
    assert service.shown("test_stat_count") == 6
    assert service.shown("learning_ratio") == 0.1
    service.send(normal(900, seed=2))
    assert (service.samples.state(), service.source()) == ("ready", "learned")
    assert (service.shown("reference_rows"), service.shown("learning_ratio")) == (200, 1)
    assert service.watch.detector.block == 20
    assert caplog.text.count("drift detection on") == 1
    assert (
        "from the first 40 embeddings for now, and from 200 in 10 stretches over 1000s for good"
        in caplog.text
    )
    assert "one false alarm in 3,000 tests on average; drift: [] switches it off" in caplog.text


def test_that_it_is_on_is_said_where_nobody_set_up_logging_and_when_to_expect_a_verdict(
    caplog: pytest.LogCaptureFixture,
):
    service = Service(CONFIG.model_copy(update={"sample": SampleConfig(max_per_second=5)}))
    service.send(normal(1))
    (line,) = [record for record in caplog.records if "drift detection on" in record.message]
    assert line.levelno >= logging.WARNING  # what Python's last resort shows
    assert "at 5 a second it tests after 8s at the soonest" in line.message


def test_a_service_without_embeddings_learns_nothing_and_says_nothing(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    service = Service()
    assert (service.samples.state(), service.shown("learning_ratio")) == ("learning", 0)
    assert caplog.text == ""


def test_an_episode_from_the_provisional_reference_does_not_end_unheard(
    plain: list[Reference], caplog: pytest.LogCaptureFixture
):
    service = Service()
    service.send(normal(40))
    service.send(np.zeros((460, D)))
    service.send(np.full((420, D), 9.0))
    assert [reference.origin.source for reference in plain] == ["provisional", "learned"]
    assert service.shown("episodes_total") == 1
    assert service.shown("active") == 0
    assert service.shown("reference_drifting_ratio") == pytest.approx(0.4, abs=0.1)
    assert "an episode of drift from the provisional reference ends" in caplog.text
    assert "% of that came during such episodes, and is normal from now on" in caplog.text


def test_without_an_episode_nothing_is_warned_of(plain: list[Reference], caplog: pytest.LogCaptureFixture):
    service = Service()
    service.send(normal(950, shift=-1.0))
    assert [reference.origin.source for reference in plain] == ["provisional", "learned"]
    assert [record.message.split(":")[0] for record in caplog.records] == ["drift detection on"]
    assert service.shown("reference_drifting_ratio") == 0


def test_what_neither_can_take_is_refused_once():
    service = Service()
    service.send(normal(60))
    assert service.watch.state == "provisional"
    odd = np.array([np.nan, 0.0, 0.0, 0.0])
    service.watch.take(
        [Observation("m", "hook", service.now, embedding=row) for row in (odd, np.zeros(D + 1))]
    )
    assert sorted(service.refused) == [("embedding", "not_finite"), ("embedding", "wrong_shape")]


def test_a_stream_whose_embeddings_change_their_length_is_learned_anew():
    """A new version of the model: the provisional detector refuses its embeddings, the learner takes them."""
    service = Service()
    service.send(normal(60))
    assert service.watch.detector.n_features == D
    service.send(normal(700, d=D + 3, seed=3))
    assert service.watch.detector.n_features == D + 3
    assert service.watch.state == "provisional"
    assert set(service.refused) == {("embedding", "wrong_shape")}
    service.send(normal(1000, d=D + 3, seed=4))
    assert (service.watch.state, service.source()) == ("ready", "learned")


def test_a_lasting_reference_that_cannot_serve_leaves_the_provisional_one_at_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    fits: list[str] = []

    def fit(_: Any, reference: Reference, __: Any) -> PlainDetector:
        fits.append(reference.origin.source)
        if len(fits) == 2:
            raise InvalidReference("reference: nothing but noise")
        return PlainDetector((5,))

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    service = Service()
    service.send(normal(960))
    assert fits == ["provisional", "learned"]
    assert (service.watch.state, service.source()) == ("provisional", "provisional")
    assert service.shown("learning_ratio") < 0.2
    assert "nothing but noise; it learns anew" in caplog.text
    service.send(normal(1000))
    assert fits == ["provisional", "learned", "learned"]
    assert service.watch.state == "ready"


def test_calibrations_of_a_process_take_turns(monkeypatch: pytest.MonkeyPatch):
    running: list[int] = []
    most: list[int] = []

    def fit(*_: Any) -> PlainDetector:
        running.append(1)
        most.append(len(running))
        exporter.drift.calibrator.threading.Event().wait(0.02)
        running.pop()
        return PlainDetector((5,))

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    services = [Service(MMDConfig(window=5, reference=LearnConfig(learn=40))) for _ in range(4)]
    for service in services:
        service.watch.take([Observation("m", "hook", 0.0, embedding=row) for row in normal(40)])
    for service in services:
        assert service.watch.join_calibration(WAIT)
        assert service.watch.state == "filling"
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(604_800.0, "1w"), (86_400.0, "1d"), (5400.0, "90m"), (0.5, "0.5s"), (61.0, "61s")]
)
def test_durations_in_words(seconds: float, text: str):
    assert in_time(seconds) == text

"""What is tested where a service gives no embeddings: its numeric features, in an order that stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporter.config import Config, EmbedderConfig, LearnConfig, MMDConfig
from exporter.metrics.instruments import Instruments
from exporter.observation import Observation
from exporter.pipeline.processor import Outcomes
from exporter.processors.drift import Drift

ENTRY = MMDConfig(window=5, reference=LearnConfig(learn=40), seed=1, expected_run_length=50)


class Service:
    def __init__(self, *, drift: tuple[MMDConfig, ...] = (ENTRY,), **settings: Any) -> None:
        self.registry = CollectorRegistry()
        self.events: list[Any] = []
        config = Config(model="m", drift=drift, **settings)
        self.drift = Drift(config, Instruments(self.registry), notify=self.events.append)
        self.drift.start()
        self.now = 0

    def send(self, *given: dict[str, Any]) -> None:
        observations = [Observation("m", "hook", float(n), **each) for n, each in enumerate(given, self.now)]
        self.now += len(given)
        self.drift.process(observations, Outcomes())
        assert self.drift.watches[0].join_calibration(20)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": "m", "version": "", **labels})

    @property
    def learned(self) -> float | None:
        return self.value("drift_learning_ratio", detector="mmd")

    @property
    def refused(self) -> float | None:
        return self.value("inference_exporter_invalid_values_total", field="embedding", reason="wrong_shape")


def named(n: int, shift: float = 0.0) -> list[dict[str, Any]]:
    rows = np.random.default_rng(n).normal(loc=(0.0, shift), size=(n, 2))
    return [{"features": {"income": b, "city": "Riga", "age": a}} for a, b in rows.tolist()]


def test_named_features_are_learned_from_and_an_alarm_names_them():
    service = Service()
    service.send(*named(40))
    assert service.drift.watches[0].state == "filling"
    service.send(*named(20, shift=9.0))
    assert service.events[0].moved_names[0] == "income"
    assert service.refused == 0


def test_features_without_names_are_learned_from_too():
    service = Service()
    service.send(*({"features": row} for row in np.random.default_rng(0).normal(size=(20, 3)).tolist()))
    assert service.learned == 0.5


def test_a_missing_number_gives_no_embedding_and_is_counted():
    service = Service()
    service.send(*named(10), {"features": {"age": 1.0, "city": "Riga"}})
    assert (service.learned, service.refused) == (0.25, 1)


@pytest.mark.parametrize("features", [{"city": "Riga"}, ["Riga", 1], [], {}, "text"])
def test_features_that_are_no_numbers_are_passed_over(features: Any):
    service = Service()
    service.send({"features": features}, {"features": features})
    assert (service.learned, service.refused) == (0, 0)


def test_a_service_that_gives_embeddings_is_tested_by_them_alone():
    service = Service()
    rows = np.random.default_rng(0).normal(size=(10, 7)).astype(np.float32)
    service.send(*({"embedding": row, "features": {"age": 1.0}} for row in rows), *named(5))
    service.send(*named(5))
    assert (service.learned, service.refused) == (0.25, 0)


def test_where_a_model_of_our_own_embeds_features_are_no_embeddings(tmp_path: Any):
    (tmp_path / "model.onnx").write_bytes(b"")
    embedder = EmbedderConfig(kind="onnx", path=tmp_path / "model.onnx")
    service = Service(capture={"embedder": embedder})
    service.send(*named(10))
    assert service.learned == 0


def test_the_rows_of_a_request_are_embeddings_already_and_stay():
    service = Service()
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    service.send(*({"embedding": row, "features": row.tolist()} for row in rows), *named(5)[:0])
    service.send({"features": [1.0, 2.0]})
    assert service.learned == 6 / 40


def test_nothing_is_made_where_nothing_is_tested():
    service = Service()
    service.drift.watches = []
    observation = Observation("m", "hook", features={"age": 1.0})
    service.drift.process([observation], Outcomes())
    assert service.drift._features is not None
    assert service.drift._features._columns.names == ()

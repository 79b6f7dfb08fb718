"""What is tested where a service gives no embeddings: its numeric features, in an order that stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporter.config import Config, EmbedderConfig, LearnConfig, MMDConfig
from exporter.decoders.features import MAX_REQUEST_EMBEDDING, Columns
from exporter.metrics.instruments import Instruments
from exporter.observation import Observation
from exporter.pipeline.features import FeatureEmbeddings
from exporter.pipeline.ledger import Tally
from exporter.pipeline.packing import Item, pack
from exporter.processors.assembly import make_pipeline
from exporter.processors.drift import Drift
from exporter.receivers.columns import rows_of
from exporter.receivers.rows import Rows
from tests.decoders.conftest import exchange
from tests.embedders.test_embedder import IMAGE, onnx_file

ENTRY = MMDConfig(window=5, reference=LearnConfig(learn=40), seed=1, expected_run_length=50)


class Service:
    """A pipeline that is given packed items, as out of the queue."""

    def __init__(self, *, drift: tuple[MMDConfig, ...] = (ENTRY,), **settings: Any) -> None:
        self.registry = CollectorRegistry()
        self.events: list[Any] = []
        config = Config(model="m", drift=drift, **settings)
        self.pipeline = make_pipeline(config, Instruments(self.registry), notify=self.events.append)
        self.drift = self.pipeline.find(Drift)
        self.pipeline.start()
        self.now = 0

    def take(self, *items: Item) -> None:
        self.pipeline.handle(Tally(), [pack(item, "record", pytest.fail) for item in items])
        for watch in self.drift.watches:
            assert watch.join_calibration(20)

    def send(self, *given: dict[str, Any]) -> None:
        self.take(*(Observation("m", "record", float(n), **each) for n, each in enumerate(given, self.now)))
        self.now += len(given)

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


def rows(**columns: Any) -> Rows:
    return rows_of(Rows("m", 5.0, 0), columns, lambda *why: pytest.fail(str(why)))


def named_rows(n: int, shift: float = 0.0) -> Rows:
    told = [each["features"] for each in named(n, shift)]
    return rows(features={name: [row[name] for row in told] for name in told[0]})


def ways(n: int, shift: float = 0.0) -> dict[str, list[Item]]:
    """The same features by every way in."""
    told = [each["features"] for each in named(n, shift)]
    noted = [exchange({"prediction": 1}) for _ in told]
    for made, row in zip(noted, told, strict=True):
        made.notes = {"features": row}
    return {
        "record": [Observation("m", "record", features=row) for row in told],
        "record_batch": [named_rows(n, shift)],
        "observe": [*noted],
        "a request's rows": [exchange({"predictions": [1] * n}, {"instances": told})],
    }


@pytest.mark.parametrize("way", ways(1))
def test_named_features_are_learned_from_and_an_alarm_names_them(way: str):
    service = Service()
    service.take(*ways(40)[way])
    assert service.drift.watches[0].state == "filling"
    service.take(*ways(20, shift=9.0)[way])
    assert service.events[0].moved_names[0] == "income"
    assert service.refused == 0


@pytest.mark.parametrize("n", [1, 3, 39])
def test_all_ways_make_the_same_embeddings(n: int):
    found = {}
    for way, items in ways(n).items():
        service = Service()
        service.take(*items)
        learner = service.drift.watches[0]._learning.learner  # type: ignore[union-attr]
        found[way] = np.array(learner._rows).tobytes(), learner._names
    assert len(set(found.values())) == 1
    assert found["record"][1] == ("age", "income")


def test_features_without_names_are_learned_from_too():
    service = Service()
    numbers = np.random.default_rng(0).normal(size=(20, 3))
    service.send(*({"features": row} for row in numbers[:10].tolist()))
    service.take(rows(features=numbers[10:]))
    assert service.learned == 0.5


def test_a_missing_number_gives_no_embedding_and_is_counted():
    service = Service()
    service.send(*named(10), {"features": {"age": 1.0, "city": "Riga"}})
    assert (service.learned, service.refused) == (0.25, 1)


def test_a_number_that_a_row_of_a_batch_lacks_is_counted_once():
    service = Service()
    service.take(rows(features={"age": [1.0, None, 3.0, 4.0], "income": [1, 2, 3, 4]}))
    assert (service.learned, service.refused) == (3 / 40, 1)
    made = exchange({"predictions": [1, 1]}, {"instances": [{"age": 1, "income": 2}, {"age": 3}]})
    service.take(made)
    assert (service.learned, service.refused) == (4 / 40, 2)


def test_batches_of_other_columns_are_refused_until_most_have_them():
    service = Service()
    service.take(rows(features={"age": np.arange(3.0)}))
    service.take(rows(features={"age": np.arange(8.0), "income": np.arange(8.0)}))
    assert service.refused == 3 + 2  # as many as had the others, and what is learned then begins anew
    learner = service.drift.watches[0]._learning.learner  # type: ignore[union-attr]
    assert learner._rows[-1].tolist() == [7.0, 7.0]
    service.take(rows(features={"age": np.arange(4.0)}))
    assert service.refused == 5 + 4


TOLD: list[Any] = [
    *({"city": "Riga"}, ["Riga", 1], ["1", "2"], [1.0, None], [True, False], [], {}, "text", 5),
    *([[1.0, 2.0]], {"request_id": 7}, dict.fromkeys(map(str, range(MAX_REQUEST_EMBEDDING + 1)), 1.0)),
    [1.0] * (MAX_REQUEST_EMBEDDING + 1),
]


@pytest.mark.parametrize("features", TOLD, ids=range(len(TOLD)))
def test_features_that_are_no_numbers_are_passed_over(features: Any):
    service = Service()
    service.send(*named(1), {"features": features}, {"features": features})
    assert (service.learned, service.refused) == (1 / 40, 0)


@pytest.mark.parametrize(
    "features",
    [
        {"city": ["Riga", None]},
        {"id": [1, 2]},
        {str(n): np.ones(2) for n in range(MAX_REQUEST_EMBEDDING + 1)},
        np.ones((2, MAX_REQUEST_EMBEDDING + 1)),
    ],
    ids=["text", "identifiers", "too many columns", "too wide"],
)
def test_columns_that_are_no_numbers_are_passed_over(features: Any):
    service = Service()
    service.take(rows(features=features))
    assert (service.learned, service.refused) == (0, 0)


def test_numbers_beyond_float32_are_refused_and_those_beyond_all_floats_too():
    service = Service()
    service.take(rows(features={"a": [1.0, 1e39, 3.0], "b": [True, False, True]}))
    assert service.learned == 2 / 40
    service.take(rows(features={"a": [1.0, 10**400, 3.0], "b": [True, False, True]}))
    assert (service.learned, service.refused) == (4 / 40, 1)
    service.send({"features": [10**400, 1]})
    wrong = service.value("inference_exporter_invalid_values_total", field="embedding", reason="wrong_type")
    assert wrong == 1


@pytest.mark.parametrize("way", ["record", "record_batch", "exchange", "observe"])
def test_a_service_that_gives_embeddings_is_tested_by_them_alone(way: str):
    service = Service()
    embeddings = np.random.default_rng(0).normal(size=(10, 7)).astype(np.float32)
    given: list[Item] = [Observation("m", "record", embedding=each, features={"a": 1}) for each in embeddings]
    if way == "record_batch":
        given = [rows(embedding=embeddings, features={"a": np.ones(10)})]
    elif way == "exchange":
        given = [exchange({"label": "x", "embedding": each.tolist()}, {"a": 1}) for each in embeddings]
    elif way == "observe":
        given = [exchange({"label": "x"}, {"a": 1}) for _ in embeddings]
        for made, each in zip(given, embeddings, strict=True):
            made.notes = {"embedding": each.tobytes()}  # type: ignore[union-attr]
    service.take(*given)
    service.send(*named(5))
    service.take(named_rows(5), rows(features=np.ones((5, 7))), ways(1)["observe"][0])
    assert (service.learned, service.refused) == (0.25, 0)


def test_where_a_model_of_our_own_embeds_features_are_no_embeddings(tmp_path: Any):
    embedder = EmbedderConfig.model_validate({"kind": "onnx", "path": onnx_file(tmp_path), "image": IMAGE})
    service = Service(capture={"embedder": embedder})
    for items in ways(10).values():
        service.take(*items)
    assert service.learned == 0


def test_a_reload_that_adds_a_model_of_our_own_ends_it(tmp_path: Any):
    service = Service()
    embedder = {"kind": "onnx", "path": onnx_file(tmp_path), "image": IMAGE}
    service.send(*named(10))
    config = Config.model_validate({"model": "m", "drift": [ENTRY], "capture": {"embedder": embedder}})
    service.pipeline.reconfigure(config)
    service.send(*named(10))
    assert service.learned == 0.25


def test_a_row_of_a_request_that_was_sent_on_stays_what_is_tested():
    service = Service()
    numbers = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    service.send(*({"embedding": row, "features": row.tolist()} for row in numbers))
    service.send({"features": [1.0, 2.0]})
    assert service.learned == 6 / 40


def test_features_that_a_handler_notes_stand_in_place_of_the_request():
    service = Service()
    made = exchange({"prediction": 1}, {"features": [1, 2, 3]})
    made.notes = {"features": {"b": 5.0, "a": 4.0}}
    service.take(made)
    learner = service.drift.watches[0]._learning.learner  # type: ignore[union-attr]
    assert (learner._rows[0].tolist(), learner._names) == ([4.0, 5.0], ("a", "b"))


def test_an_embedding_that_is_refused_is_not_replaced_by_features():
    fields = {"embedding": "vector", "features": "request.features"}
    service = Service(capture={"payload": "fields", "fields": fields})
    service.take(exchange({"vector": "none"}, {"features": {"a": 1}}))
    assert service.learned == 0
    service.take(exchange({"vector": None}, {"features": {"a": 1}}))
    assert service.learned == 1 / 40


def test_nothing_is_made_where_nothing_is_tested():
    service = Service(drift=())
    columns = service.pipeline.extractor.features._columns
    for way in ("record", "record_batch", "observe"):
        service.take(*ways(3)[way])
    assert columns.names == ()
    tested = Service()
    tested.send(*named(1))
    assert tested.pipeline.extractor.features._columns.names == ("age", "income")


def test_rows_are_made_as_arrays_and_not_one_by_one(monkeypatch: pytest.MonkeyPatch):
    def one_by_one(*_: Any) -> Any:
        raise AssertionError("one by one")

    monkeypatch.setattr(Columns, "vector", one_by_one)
    features = FeatureEmbeddings(Columns(), lambda *_: None, lambda: True)
    found = features.observations(named_rows(100), "record")
    assert all(each.embedding.dtype == np.float32 and each.embedding.shape == (2,) for each in found)
    assert {each.feature_names for each in found} == {("age", "income")}
    with pytest.raises(AssertionError, match="one by one"):
        features.observations(rows(features={"age": [1.0, None]}), "record")

"""From an exchange to observations: what serves as embedding, and what an embedder is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.config import CaptureConfig
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.observation import Observation
from exporter.pipeline.extraction import Extractor
from tests.decoders.conftest import exchange
from tests.embedders.test_embedder import IMAGE, onnx_file
from tests.embedders.test_images import png

Refused = list[tuple[str, str]]


def extractor(refused: Refused, **capture: Any) -> Extractor:
    return Extractor("m", CaptureConfig.model_validate(capture), lambda *key: refused.append(key))


def read(by: Extractor, made: Exchange) -> Observation:
    (observation,) = by.observations("hook", made)
    return observation


@pytest.fixture
def embedding(tmp_path: Path) -> Extractor:
    settings = {"kind": "onnx", "path": onnx_file(tmp_path), "image": IMAGE}
    return extractor([], embedder=settings)


def picture(response: Any) -> Exchange:
    return exchange(response, png(color=(255, 0, 0)), request_headers=((b"content-type", b"image/png"),))


def test_named_features_become_one_vector_in_whatever_order_they_come():
    refused: Refused = []
    by = extractor(refused)
    first = read(by, exchange({"prediction": 1}, {"features": {"b": 2, "a": 1.5, "town": "Riga"}}))
    second = read(by, exchange({"prediction": 1}, {"a": 1.5, "town": "Bonn", "b": 2}))
    for observation in (first, second):
        assert observation.embedding.tolist() == [1.5, 2.0]
    assert first.features == {"b": 2, "a": 1.5, "town": "Riga"}
    assert refused == []


def test_components_of_named_features_keep_their_names():
    by = extractor([])
    first = read(by, exchange({"prediction": 1}, {"features": {"b": 2, "a": 1.5, "town": "Riga"}}))
    second = read(by, exchange({"predictions": [1]}, {"instances": [{"a": 0.5, "b": 3}]}))
    assert first.feature_names == second.feature_names == ("a", "b")
    assert first.feature_names is second.feature_names
    assert read(by, exchange({"prediction": 1}, {"features": [1.5, 2.5]})).feature_names is None
    assert read(by, exchange({"label": "x", "embedding": [1.5]}, {"a": 1, "b": 2})).feature_names is None
    noted = exchange({"prediction": 1}, {"features": {"a": 1, "b": 2}})
    noted.notes = {"embedding": np.ones(2, np.float32)}
    assert read(by, noted).feature_names is None


def test_a_missing_feature_is_refused_and_counted_and_costs_only_the_embedding():
    refused: Refused = []
    by = extractor(refused)
    read(by, exchange({"prediction": 1}, {"features": {"a": 1, "b": 2}}))
    for row in ({"a": 1, "c": 2}, {"a": 1, "b": None}):
        observation = read(by, exchange({"prediction": 1}, {"features": row}))
        assert (observation.predicted_class, observation.features) == ("1", row)
        assert observation.embedding is None
        read(by, exchange({"prediction": 1}, {"features": {"a": 1, "b": 2}}))
    assert refused == [("embedding", "wrong_shape")] * 2


def test_an_address_may_point_at_named_features():
    refused: Refused = []
    by = extractor(refused, fields={"embedding": "request.x"})
    observation = read(by, exchange({"prediction": 1}, {"x": {"b": 2, "a": 1}}))
    assert observation.embedding.tolist() == [1.0, 2.0]
    assert refused == []


@pytest.mark.parametrize(
    ("response", "note", "needed"),
    [
        ({"prediction": 1}, None, True),
        ({"prediction": 1, "embedding": [1.0]}, None, False),
        ({"prediction": 1}, {"embedding": [1.0]}, False),
        ({"prediction": 1}, {"predicted_class": "a"}, True),
        ({}, {"predicted_class": "a"}, True),
        ({}, {"request_id": "7"}, False),
        ({}, None, False),  # no observation, and nothing to embed for
    ],
)
def test_the_embedder_is_asked_only_where_the_service_gave_no_embedding(embedding, response, note, needed):
    made = picture(response)
    if note:
        made.notes = note
    assert embedding.needs_embedding(made) is needed


def test_an_exchange_with_embeddings_of_the_live_model_needs_none(embedding):
    made = picture({"prediction": 1})
    made.add_embeddings([np.ones(3, np.float32)])
    assert not embedding.needs_embedding(made)
    assert not extractor([]).needs_embedding(picture({"prediction": 1}))


def test_where_an_embedder_makes_embeddings_features_are_none(embedding):
    """Sampled out or without an image, an exchange must not hand numbers of another kind to the detector."""
    made = exchange({"prediction": 1}, {"features": [1.0, 2.0]})
    assert embedding.needs_embedding(made)
    observation = read(embedding, made)
    assert observation.embedding is None
    assert observation.features == [1.0, 2.0]
    made = picture({"prediction": 1})
    assert embedding.embed([made]) == 0
    assert read(embedding, made).embedding.tolist() == [1.0, 0.0, 0.0]


def test_the_identifier_of_who_sent_the_exchange_holds_for_all_instances():
    made = exchange({"id": "own", "predictions": [1, 2]})
    made.notes = {"request_id": "sent"}
    observed = extractor([]).observations("ingest", made)
    assert [item.request_id for item in observed] == ["sent:0", "sent:1"]
    assert [item.predicted_class for item in observed] == ["1", "2"]


def test_an_identifier_alone_is_no_prediction():
    made = exchange(b"<html>")
    made.notes = {"request_id": "sent"}
    with pytest.raises(PayloadError) as caught:
        extractor([]).observations("ingest", made)
    assert caught.value.reason == "unreadable"
    made.add_embeddings([np.ones(2, np.float32)])
    assert read(extractor([]), made).request_id == "sent"


@pytest.mark.parametrize(("ended", "latency"), [(101.0, 1.0), (100.0, None), (90.0, None)])
def test_a_duration_is_never_negative_and_unknown_where_the_clock_says_none(ended, latency):
    made = exchange({"prediction": 1})
    made.finish(ended)
    assert read(extractor([]), made).latency_seconds == latency

from __future__ import annotations

import pytest

from exporter.decoders.auto import read_auto
from exporter.decoders.kserve_v1 import read_kserve_v1
from exporter.errors import PayloadError


@pytest.mark.parametrize("read", [read_kserve_v1, read_auto])
@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (3, {"predicted_class": 3}),
        ("spam", {"predicted_class": "spam"}),
        (12.5, {"value": 12.5}),
        ([12.5], {"value": 12.5}),
        ([0.1, 0.2, 0.7], {"predicted_class": 2, "confidence": 0.7}),
        ([3.5, -1.0], {"embedding": [3.5, -1.0]}),
        ({"label": "cat", "score": 0.5}, {"predicted_class": "cat", "confidence": 0.5}),
        ({"dense": [0.25, 0.75]}, {"predicted_class": 1, "confidence": 0.75}),
        ({"classes": ["a", "b"], "scores": [0.3, 0.7]}, {"predicted_class": "b", "confidence": 0.7}),
    ],
)
def test_a_prediction(exchange, read, prediction, expected):
    assert read(exchange({"predictions": [prediction]})) == [expected]


def test_a_batch_takes_its_features_and_ids(exchange):
    request = {"instances": [[5.1, 3.5], [6.0, 2.2]]}
    headers = ((b"x-request-id", b"r9"),)
    readings = read_auto(exchange({"predictions": [0, 2]}, request, request_headers=headers))
    assert readings == [
        {"predicted_class": 0, "features": [5.1, 3.5], "embedding": [5.1, 3.5], "request_id": "r9:0"},
        {"predicted_class": 2, "features": [6.0, 2.2], "embedding": [6.0, 2.2], "request_id": "r9:1"},
    ]


def test_an_instance_of_named_features(exchange):
    (reading,) = read_auto(exchange({"predictions": [1]}, {"instances": [{"age": 3, "town": "x"}]}))
    assert reading["features"] == {"age": 3, "town": "x"}


def test_encoded_images_are_no_features(exchange):
    (reading,) = read_auto(exchange({"predictions": [1]}, {"instances": [{"b64": "aGk="}]}))
    assert reading == {"predicted_class": 1}


def test_columns_classify_and_regress(exchange):
    columns = {"outputs": {"classes": [4, 5], "probabilities": [[0.5, 0.5], [0.1, 0.9]]}}
    assert [reading["confidence"] for reading in read_kserve_v1(exchange(columns))] == [0.5, 0.9]
    assert read_kserve_v1(exchange({"outputs": [[1.5]]})) == [{"value": 1.5}]
    classify = {"result": [[["dog", 0.2], ["cat", 0.8]]]}
    assert read_kserve_v1(exchange(classify)) == [{"predicted_class": "cat", "confidence": 0.8}]
    assert read_kserve_v1(exchange({"result": [2.5]})) == [{"value": 2.5}]


@pytest.mark.parametrize(
    "response",
    [[], 3, {}, {"predictions": []}, {"predictions": [[[1]]]}, {"predictions": [None]}, {"outputs": 3}],
)
def test_what_has_no_prediction_is_refused(exchange, response):
    with pytest.raises(PayloadError):
        read_kserve_v1(exchange(response))


def test_too_many_instances_are_refused(exchange):
    with pytest.raises(PayloadError, match="65537 instances"):
        read_auto(exchange({"predictions": [1] * 65_537}))

"""Plain JSON: what stands by usual names, what lists of numbers are, and what is better not read."""

from __future__ import annotations

import contextlib
from typing import Any, get_args

import pytest
from hypothesis import given, settings

from exporter.config import CaptureConfig
from exporter.config.capture import Numbers
from exporter.decoders.features import rows_asked
from exporter.decoders.plain import read_plain
from exporter.decoders.registry import make_reader
from exporter.errors import PayloadError
from exporter.pipeline.extraction import Extractor
from tests.decoders.conftest import exchange
from tests.decoders.test_auto import REQUESTS, RESPONSES

EIGHT = [0.5, -1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
TWO_ROWS = {"instances": [[1.0], [2.0]]}
ONE_ROW = {"instances": [[1.0]]}
IMAGE = {"request_headers": ((b"content-type", b"image/png"),)}


def found(response: Any, request: Any = None, **more: Any) -> list[dict[str, Any]]:
    """What is read of a response itself; empty where nothing is."""
    try:
        readings = read_plain(exchange(response, request, **more))
    except PayloadError:
        return []
    names = ("predicted_class", "confidence", "value", "embedding", "request_id")
    return [
        {
            name: reading[name]
            for name in names
            if name in reading and reading[name] is not reading.get("features")
        }
        for reading in readings
    ]


@pytest.mark.parametrize(
    ("response", "request_body", "expected"),
    [
        ([0, 1], None, [{"predicted_class": 0}, {"predicted_class": 1}]),
        ([0, 1], TWO_ROWS, [{"predicted_class": 0}, {"predicted_class": 1}]),
        ([0, 1], ONE_ROW, []),
        ([0, 1, 2], TWO_ROWS, []),
        ([7], None, [{"predicted_class": 7}]),
        ([7.5], None, [{"value": 7.5}]),
        ([0.25, 0.75], None, [{"predicted_class": 1, "confidence": 0.75}]),
        ([0.25, 0.75], ONE_ROW, [{"predicted_class": 1, "confidence": 0.75}]),
        ([0.25, 0.75], TWO_ROWS, [{"value": 0.25}, {"value": 0.75}]),
        ([12.5, 13.5], TWO_ROWS, [{"value": 12.5}, {"value": 13.5}]),
        ([12.5, 13.5], ONE_ROW, []),
        ([12.5, 13.5], None, []),
        (EIGHT, ONE_ROW, [{"embedding": EIGHT}]),
        (EIGHT, None, []),
        (
            [[0.25, 0.75], [0.5, 0.5]],
            None,
            [{"predicted_class": 1, "confidence": 0.75}, {"predicted_class": 0, "confidence": 0.5}],
        ),
        ([[0.25, 0.75], [0.5, 9.5]], None, [{"embedding": [0.25, 0.75]}, {"embedding": [0.5, 9.5]}]),
        ([[12.5], [13.5]], None, [{"value": 12.5}, {"value": 13.5}]),
        (["cat", "dog"], None, [{"predicted_class": "cat"}, {"predicted_class": "dog"}]),
        (["cat", "dog"], ONE_ROW, []),
        (["A cat sat on a mat."], None, []),
        ([True, False], None, [{"predicted_class": True}, {"predicted_class": False}]),
        ([1, "a"], None, []),
        ([[1, "a"]], None, []),
        ([[[0.5, 1.5]]], None, []),
        ("cat", None, []),
        (3, None, []),
        ('{"prediction": "cat"}', None, [{"predicted_class": "cat"}]),
        ("[broken", None, []),
    ],
)
def test_lists_without_a_name(response, request_body, expected):
    assert found(response, request_body) == expected


@pytest.mark.parametrize(
    ("numbers", "response", "expected"),
    [
        ("classes", [0.0, 1.0], [{"predicted_class": 0.0}, {"predicted_class": 1.0}]),
        ("values", [0.25, 0.75], [{"value": 0.25}, {"value": 0.75}]),
        ("values", [3, 4], [{"value": 3}, {"value": 4}]),
        ("probabilities", [0.75, 0.5], [{"predicted_class": 0, "confidence": 0.75}]),
        ("probabilities", [[0.75, 0.5]], [{"predicted_class": 0, "confidence": 0.75}]),
        ("embedding", [0.25, 0.75], [{"embedding": [0.25, 0.75]}]),
        ("embedding", [[0.25, 0.75]], [{"embedding": [0.25, 0.75]}]),
        ("values", {"predictions": [1, 2]}, [{"value": 1}, {"value": 2}]),
        ("classes", {"predictions": [1.0]}, [{"predicted_class": 1.0}]),
        ("embedding", {"predictions": [[0.25, 0.75]]}, [{"embedding": [0.25, 0.75]}]),
        ("probabilities", {"prediction": [0.75, 0.5]}, [{"predicted_class": 0, "confidence": 0.75}]),
    ],
)
def test_the_configuration_says_what_they_are(numbers, response, expected):
    read = make_reader(CaptureConfig.model_validate({"numbers": numbers}))
    assert read(exchange(response)) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"fraud": True, "fraud_probability": 0.75}, {"predicted_class": True, "confidence": 0.75}),
        ({"fraud": False, "fraud_probability": 0.75}, {"predicted_class": False, "confidence": 0.25}),
        ({"churn": 0, "churn_proba": 0.25}, {"predicted_class": 0, "confidence": 0.75}),
        ({"churn": 0, "churn_proba": 0.75}, {"predicted_class": 0}),
        ({"churn": 1, "churn_proba": 0.75}, {"predicted_class": 1, "confidence": 0.75}),
        ({"churn": "No", "churn_prob": 0.25}, {"predicted_class": "No", "confidence": 0.75}),
        ({"species": "setosa", "species_score": 0.25}, {"predicted_class": "setosa", "confidence": 0.25}),
        ({"prediction": False, "probability": 0.25}, {"predicted_class": False, "confidence": 0.75}),
        ({"prediction": False, "probability": 0.75}, {"predicted_class": False, "confidence": 0.75}),
        ({"price": 12.5, "price_score": 0.5}, {"confidence": 0.5, "value": 12.5}),
        ({"flower": "setosa", "confidence": 0.5}, {"predicted_class": "setosa", "confidence": 0.5}),
        ({"age": 33, "confidence": 0.5}, {"confidence": 0.5}),
        ({"text": "hello", "confidence": 0.5}, {"confidence": 0.5}),
        ({"remark": "This is what I think.", "confidence": 0.5}, {"confidence": 0.5}),
        ({"score": 0.5}, {"value": 0.5}),
        ({"index": 3, "score": 12.5}, {"value": 12.5}),
        ({"prediction": 2.5, "confidence": 0.5}, {"value": 2.5, "confidence": 0.5}),
        ({"prediction": 2.0, "confidence": 0.5}, {"predicted_class": 2.0, "confidence": 0.5}),
        ({"classes": 4, "probabilities": [0.5, 0.5]}, {"predicted_class": 4, "confidence": 0.5}),
        ({"price": 12.5, "latency_ms": 3.5, "unit": "EUR"}, {"value": 12.5}),
        ({"price": 12.5, "lower": 10.5, "upper": 13.5}, {"value": 12.5}),
        ({"output": {"label": "x", "score": 0.5}}, {"predicted_class": "x", "confidence": 0.5}),
        ({"result": 2.5}, {"value": 2.5}),
        ({"result": 2}, {"predicted_class": 2}),
        ({"embedding": [[0.5, 1.5]]}, {"embedding": [0.5, 1.5]}),
        (
            {"top5": [{"label": "x", "score": 0.9}, {"label": "y", "score": 0.8}]},
            {"predicted_class": "x", "confidence": 0.9},
        ),
    ],
)
def test_objects(response, expected):
    assert found(response) == [expected]


@pytest.mark.parametrize(
    "response",
    [
        {"price": 12},
        {"price": 12.5, "area": 70.5},
        {"price": 12.5, "rooms": 3},
        {"price": 12.5, "history": [1.5]},
        {"result": "A cat sat on a mat."},
        {"output": "one two three four five six"},
        {"output": "two\nlines"},
        {"output": "<html>"},
        {"status": "ok", "uptime": 12.5},
        {"answer": "yes"},
        {"prediction": []},
        {"embedding": []},
        {"embeddings": [[[0.5], [1.5]]]},
        {"labels": ["a"], "scores": []},
    ],
)
def test_what_could_be_anything_is_not_read(response):
    assert found(response) == []


@pytest.mark.parametrize(
    ("response", "request_body", "count"),
    [
        ([{"label": "a", "score": 0.5}, {"label": "b", "score": 0.25}], None, 1),
        ([{"label": "a", "score": 0.5}, {"label": "b", "score": 0.25}], TWO_ROWS, 2),
        ([{"label": "a", "score": 0.5}, {"label": "b", "score": 0.25}], {"inputs": ["one", "two"]}, 2),
        ([{"label": "a", "score": 0.9}, {"label": "b", "score": 0.75}], None, 2),
        ([{"label": "a", "score": 0.9}, {"label": "b", "score": 0.75}], {"inputs": "one"}, 1),
        ([{"label": "a", "score": 0.5}, {"label": "a", "score": 0.25}], None, 2),
        ([{"label": "a", "score": 0.5, "box": [1]}, {"label": "b", "score": 0.25, "box": [1]}], None, 2),
        ({"label": ["a", "b"], "score": [0.5, 0.25]}, None, 1),
        ({"label": ["a", "b"], "score": [0.5, 0.25]}, TWO_ROWS, 2),
        ({"prediction": ["a", "b"], "probability": [0.9, 0.75]}, None, 2),
        ({"prediction": [1], "probability": 0.75}, None, 1),
        ({"probabilities": [[0.25, 0.75], [0.5, 0.5]]}, None, 2),
        ({"embeddings": [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]]}, None, 3),
    ],
)
def test_rankings_and_batches(response, request_body, count):
    assert len(found(response, request_body)) == count


def test_columns_keep_what_belongs_together():
    response = {
        "id": "q",
        "fraud": [True, False],
        "fraud_probability": [0.75, 0.25],
        "embedding": [[1.5], [2.5]],
    }
    assert found(response) == [
        {"predicted_class": True, "confidence": 0.75, "embedding": [1.5], "request_id": "q:0"},
        {"predicted_class": False, "confidence": 0.75, "embedding": [2.5], "request_id": "q:1"},
    ]
    named = {"classes": ["a", "b"], "probabilities": [[0.25, 0.75], [0.75, 0.25]]}
    assert [each["predicted_class"] for each in found(named)] == ["b", "a"]


@pytest.mark.parametrize(
    ("request_body", "more", "asked"),
    [
        ({"inputs": "a text"}, {}, 1),
        ({"inputs": ["a", "b"]}, {}, 2),
        ({"instances": [[1.0], [2.0], [3.0]]}, {}, 3),
        ({"instances": [{"a": 1}]}, {}, 1),
        ({"inputs": {"a": [1, 2], "b": [3, 4]}}, {}, 2),
        ({"features": {"a": 1}}, {}, 1),
        ({"a": 1, "b": 2}, {}, 1),
        ({"features": [1.5, 2.5]}, {}, None),
        ([[1.5], [2.5]], {}, 2),
        ([], {}, None),
        (b"\xff\xd8", IMAGE, 1),
        (b"\xff\xd8", {}, None),
        (None, {}, None),
        (b'{"inputs": [', {}, None),
    ],
)
def test_how_many_instances_a_request_asks_about(request_body, more, asked):
    assert rows_asked(exchange({}, request_body, **more)) == asked


def test_a_class_of_many_names_is_found_without_looking_at_each_pair():
    many = {f"name {index}": index for index in range(1000)}
    assert found(many) == []
    assert found({**many, "name 1_probability": 0.5, "prediction": "cat"}) == [{"predicted_class": "cat"}]


@pytest.mark.parametrize("numbers", get_args(Numbers))
@settings(max_examples=60, deadline=None)
@given(response=RESPONSES, request=REQUESTS)
def test_whatever_they_are_any_document_gives_readings_or_a_payload_error(numbers, response, request):
    extractor = Extractor("m", CaptureConfig(numbers=numbers), lambda field, reason: None)
    with contextlib.suppress(PayloadError):
        assert extractor.observations("hook", exchange(response, request))

"""Rows of requests: in whatever form they come, they are features, and embeddings where there are none."""

from __future__ import annotations

import gzip
import random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.decoders.auto import read_auto
from exporter.decoders.features import MAX_REQUEST_EMBEDDING, Columns, add_request, from_request
from exporter.decoders.kserve_v1 import read_kserve_v1
from exporter.decoders.torchserve import read_torchserve
from exporter.errors import PayloadError
from tests.decoders.conftest import exchange

ROW = {"age": 45, "city": "Riga", "income": 2.5}
VECTOR = [45.0, 2.5]


def laid(request: Any, count: int, **more: Any) -> list[dict[str, Any]]:
    readings: list[dict[str, Any]] = [{} for _ in range(count)]
    add_request(readings, exchange({}, request, **more))
    return readings


def vectors(readings: list[dict[str, Any]]) -> list[list[float]]:
    columns = Columns()
    return [columns.vector(reading["embedding"]).tolist() for reading in readings]


@pytest.mark.parametrize(
    "request_body",
    [
        {"features": ROW},
        {"data": ROW},
        {"inputs": ROW},
        {"features": [ROW]},
        {"instances": [ROW]},
        {"examples": [ROW]},
        {"dataframe_records": [ROW]},
        {"dataframe_split": {"index": [0], "columns": list(ROW), "data": [list(ROW.values())]}},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        ROW,
        [ROW],
    ],
)
@pytest.mark.parametrize("read", [read_auto, read_kserve_v1, read_torchserve])
def test_named_numbers_are_features_and_the_embedding(read, request_body):
    (reading,) = read(exchange({"predictions": [1]}, request_body))
    assert reading["features"] == ROW
    assert vectors([reading]) == [VECTOR]


@pytest.mark.parametrize(
    "request_body",
    [{"features": [1, 2.5]}, {"instances": [[1, 2.5]]}, {"inputs": [[1, 2.5]]}, [[1, 2.5]], [1, 2.5]],
)
@pytest.mark.parametrize("read", [read_auto, read_kserve_v1, read_torchserve])
def test_lists_of_numbers_are_features_and_the_embedding(read, request_body):
    (reading,) = read(exchange({"predictions": [1]}, request_body))
    assert reading == {"predicted_class": 1, "features": [1, 2.5], "embedding": [1, 2.5]}


def test_a_table_gives_one_row_to_each_instance():
    names = {"columns": ["a", "b"], "data": [[1, 2], [3, None], [5, 6, 7]]}
    first, second, third = laid({"dataframe_split": names}, 3)
    assert first == {"features": {"a": 1, "b": 2}, "embedding": {"a": 1, "b": 2}}
    assert second["features"] == {"a": 3, "b": None}
    assert third == {}
    assert laid({"dataframe_records": [{"a": 1}, {"a": 2}]}, 2)[1]["embedding"] == {"a": 2}
    assert laid({"inputs": {"a": [1, 2], "b": [3, 4]}}, 2)[1]["embedding"] == {"a": 2, "b": 4}


def test_an_encoded_request_is_read_too():
    headers = ((b"content-encoding", b"gzip"),)
    (reading,) = laid(gzip.compress(orjson.dumps(ROW)), 1, request_headers=headers)
    assert reading["features"] == ROW


@pytest.mark.parametrize(
    "request_body",
    [
        {"features": [1.0], "instances": []},  # of two rows, one
        {"text": "say 1", "more": "words"},
        {"text": "x" * 129, "top": 5},
        {"image": "A" * 1000, "threshold": 0.5},
        {"id": 7, "request_id": 8},
        {"instances": ["one", "two"]},
        {"inputs": {"a": [1, 2], "b": [3]}},
        {"dataframe_split": {"columns": "a", "data": [[1], [2]]}},
        {"dataframe_split": {"columns": ["a", [1]], "data": [[1, 2], [3, 4]]}},
        {"dataframe_split": 3},
        {"features": "red"},
        ["one"],
        [],
        3,
        b'{"features": [',
    ],
)
def test_what_is_no_row_for_each_instance_is_left_alone(request_body):
    assert laid(request_body, 2) == [{}, {}]


def test_rows_that_cannot_serve_as_embedding_are_features_all_the_same():
    long = [1.0] * (MAX_REQUEST_EMBEDDING + 1)
    assert laid({"features": long}, 1) == [{"features": long}]
    assert laid({"features": ["red", 3]}, 1) == [{"features": ["red", 3]}]
    assert laid({"instances": [{"id": 3, "town": "Riga"}]}, 1) == [{"features": {"id": 3, "town": "Riga"}}]


def test_what_the_response_gives_is_better_than_what_the_request_says():
    (computed,) = read_auto(exchange({"prediction": 1, "embedding": [9.0]}, {"features": [1.0]}))
    (asked,) = read_auto(exchange({"prediction": 1}, {"features": [1.0]}))
    assert computed["embedding"] == [9.0]
    assert not from_request(computed)
    assert from_request(asked)


@given(st.dictionaries(st.text(max_size=5), st.floats(width=32, allow_nan=False), min_size=1), st.randoms())
def test_the_order_of_names_does_not_matter(row: dict[str, float], rng: random.Random):
    names = list(row)
    rng.shuffle(names)
    columns = Columns()
    first, second = columns.vector(row), columns.vector({name: row[name] for name in names})
    if first is None:  # nothing but identifiers
        assert second is None
    else:
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("row", [{"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": None}, {"a": 1, "b": "2"}, {}])
def test_other_names_than_most_give_no_vector(row):
    columns = Columns()
    for _ in range(10):
        assert columns.vector({"b": 2, "a": True, "town": "Riga", "id": 5}).tolist() == [1.0, 2.0]
    assert columns.vector(row) is None
    assert columns.vector({"a": 1, "b": 2}) is not None


def test_neither_an_odd_first_request_nor_a_change_for_good_locks_the_names():
    columns = Columns()
    assert columns.vector({"odd": 1}).tolist() == [1.0]
    given = [columns.vector({"a": 1, "b": 2}) for _ in range(1000)]
    assert sum(vector is None for vector in given) == 1
    given = [columns.vector({"a": 1, "b": 2, "c": 3}) for _ in range(1000)]
    assert sum(vector is None for vector in given) == 100


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(width=32), st.text(max_size=3))
NAMES = st.sampled_from(
    [
        *("features", "instances", "inputs", "examples", "data", "dataframe_records", "dataframe_split"),
        *("columns", "index", "a", "b", "b64", "id"),
    ]
)
REQUESTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(REQUESTS, st.integers(1, 3))
def test_any_request_gives_rows_or_none(request_body: Any, count: int):
    columns = Columns()
    for reading in laid(orjson.dumps(request_body), count):
        assert reading.keys() <= {"features", "embedding"}
        embedding = reading.get("embedding")
        assert embedding is None or from_request(reading)
        if isinstance(embedding, dict):
            vector = columns.vector(embedding)
            assert vector is None or (vector.ndim == 1 and vector.dtype == np.float32)


PREDICTIONS = st.recursive(
    st.one_of(LEAVES, st.lists(st.floats(0, 1), min_size=1, max_size=3)),
    lambda inner: st.dictionaries(
        st.sampled_from(["label", "score", "scores", "classes", "dense", "cat", "dog"]), inner, max_size=3
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(PREDICTIONS)
def test_an_item_says_the_same_in_every_protocol(item: Any):
    """TorchServe alone takes more: the best few of many classes, and what is wrapped."""
    said = []
    for read, document in (
        (read_kserve_v1, {"predictions": [item]}),
        (read_auto, {"predictions": [item]}),
        (read_auto, {"results": [item]}),
    ):
        try:
            said.append(read(exchange(document)))
        except PayloadError:
            said.append([])
    assert said[0] == said[1] == said[2]
    if said[0]:
        assert read_torchserve(exchange([item])) == said[0] or isinstance(item, list | float | int)

"""Columns become rows, whole and in parts, and what cannot serve is refused, row by row or altogether."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exporter.observation import Observation
from exporter.pipeline.packing import pack, unpack
from exporter.receivers.columns import WrongLengths, rows_of
from exporter.receivers.rows import Rows

FIELDS = ("predicted_class", "confidence", "value", "embedding", "features", "request_id")


def rows(**columns: Any) -> tuple[Rows, dict[tuple[str, str], int]]:
    refused: dict[tuple[str, str], int] = {}

    def refuse(field: str, reason: str, n: int) -> None:
        refused[field, reason] = refused.get((field, reason), 0) + n

    return rows_of(Rows("m", 5.0, 0, version="v"), columns, refuse), refused


def through(made: Rows) -> list[Observation]:
    data = pack(made, "record", pytest.fail)
    assert type(data) is bytes
    source, back = unpack(data)
    assert source == "record"
    assert isinstance(back, Rows)
    assert len(back) == len(made)
    return back.observations("record")


def fields(observations: list[Observation], name: str) -> list[Any]:
    found = [getattr(each, name) for each in observations]
    return [each.tolist() if isinstance(each, np.ndarray) else each for each in found]


def test_every_column_arrives():
    made, refused = rows(
        predicted_class=["cat", "dog", "cat"],
        confidence=[0.5, 1, 0.0],
        value=np.array([1, -2, 3]),
        embedding=torch.arange(6.0).reshape(3, 2),
        features={"age": [1, 2, 3], "colour": ["red", None, "blue"]},
        request_id=["a", "b", 7],
    )
    assert refused == {}
    back = through(made)
    assert fields(back, "predicted_class") == ["cat", "dog", "cat"]
    assert fields(back, "confidence") == [0.5, 1.0, 0.0]
    assert fields(back, "value") == [1.0, -2.0, 3.0]
    assert fields(back, "embedding") == [[0, 1], [2, 3], [4, 5]]
    assert fields(back, "features") == [
        {"age": 1.0, "colour": "red"},
        {"age": 2.0, "colour": None},
        {"age": 3.0, "colour": "blue"},
    ]
    assert fields(back, "request_id") == ["a", "b", "7"]
    assert {(each.model, each.source, each.timestamp, each.latency_seconds) for each in back} == {
        ("m", "record", 5.0, None)
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(0, 1), st.integers(-5, 5)),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 10),
)
def test_parts_are_the_whole(table: list[tuple[str | None, float, int]], size: int):
    classes, confidence, values = (list(column) for column in zip(*table, strict=True))
    made, refused = rows(
        predicted_class=classes,
        confidence=confidence,
        value=values,
        embedding=[[float(value)] for value in values],
        features=[[value, 1] for value in values],
        request_id=[str(value) for value in values],
    )
    assert refused == {}
    found = []
    for start in range(0, len(made), size):
        found += through(made.part(start, min(start + size, len(made))))
    assert fields(found, "predicted_class") == classes
    assert fields(found, "confidence") == confidence
    assert fields(found, "value") == values
    assert fields(found, "embedding") == [[value] for value in values]
    assert fields(found, "features") == [[value, 1] for value in values]
    assert fields(found, "request_id") == [str(value) for value in values]


@pytest.mark.parametrize(
    ("column", "names", "n_refused"),
    [
        (np.array([1, 2, 1]), ["1", "2", "1"], 0),
        (np.array(["a", "b", "a"]), ["a", "b", "a"], 0),
        (np.array([1.0, 2.5, np.nan]), ["1", "2.5", None], 1),
        (torch.tensor([1, 2, 1]), ["1", "2", "1"], 0),
        ([1, True, 1.0], ["1", "true", "1"], 0),
        (["a", None, object()], ["a", None, None], 1),
        (["a", [], {}], [None] * 3, 3),
        (np.array([True, False, True]), ["true", "false", "true"], 0),
        (["\ud800", "b", "x" * 200], ["?", "b", "x" * 128], 0),
        ([object()] * 3, [None] * 3, 3),
    ],
)
def test_classes_are_named_as_everywhere(column: Any, names: list[Any], n_refused: int):
    made, refused = rows(predicted_class=column, value=[1, 2, 3])
    assert fields(through(made), "predicted_class") == names
    assert refused == ({("predicted_class", "wrong_type"): n_refused} if n_refused else {})


@pytest.mark.parametrize(
    ("column", "kept", "refusals"),
    [
        ([0.5, 1.5, 0.1], [0.5, None, 0.1], {"out_of_range": 1}),
        (np.array([0.5, np.nan, np.inf]), [0.5, None, None], {"not_finite": 2}),
        ([0.5, None, "no"], [0.5, None, None], {"wrong_type": 1}),
        (torch.tensor([0.5, 0.25, 1.0], requires_grad=True), [0.5, 0.25, 1.0], {}),
        (torch.tensor([0.5, 0.25, 1.0], dtype=torch.bfloat16), [0.5, 0.25, 1.0], {}),
        (np.array([[0.5], [0.25], [1.0]]), [0.5, 0.25, 1.0], {}),
        (np.ones((3, 2)), [None] * 3, {"wrong_type": 3}),
        ([True, 0.5, 0.5], [None, 0.5, 0.5], {"wrong_type": 1}),
    ],
)
def test_a_number_that_is_not_valid_costs_itself(column: Any, kept: list[Any], refusals: dict[str, int]):
    made, refused = rows(confidence=column, predicted_class=["a"] * 3)
    assert fields(through(made), "confidence") == kept
    assert refused == {("confidence", reason): n for reason, n in refusals.items()}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([[1.0, 2.0], [3.0], [4.0]], "wrong_shape"),
        ([[1.0, "x"]] * 3, "wrong_type"),
        (np.ones(3), "wrong_shape"),
        (np.ones((3, 2, 2)), "wrong_shape"),
        (np.ones((3, 0)), "wrong_shape"),
        (np.ones((3, 2), complex), "wrong_type"),
        (torch.ones(3, 2, device="meta"), "wrong_type"),
        ([torch.ones(2), torch.ones(3), torch.ones(2)], "wrong_shape"),
        ([None, None, None], "wrong_shape"),
    ],
)
def test_embeddings_that_are_no_rows_are_refused_and_the_rest_counts(column: Any, reason: str):
    made, refused = rows(embedding=column, predicted_class=["a"] * 3)
    back = through(made)
    assert fields(back, "embedding") == [None] * 3
    assert fields(back, "predicted_class") == ["a"] * 3
    assert refused == {("embedding", reason): 3}


def test_embeddings_of_any_kind_are_float32():
    for column in (
        np.ones((2, 3)),
        [[1, 1, 1], [1.0, 1, 1]],
        [torch.ones(3, requires_grad=True), torch.ones(3)],
        torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True),
        np.asfortranarray(np.ones((2, 3), np.float32)),
    ):
        made, refused = rows(embedding=column)
        (first, second) = through(made)
        assert first.embedding.tolist() == second.embedding.tolist() == [1, 1, 1]
        assert first.embedding.dtype == np.float32
        assert refused == {}


def test_columns_of_different_lengths_belong_to_nobody():
    with pytest.raises(
        WrongLengths, match=r"confidence has 2, embedding has 3, features\['age'\] has 2"
    ) as why:
        rows(confidence=[0.1, 0.2], embedding=np.ones((3, 2)), features={"age": [1, 2]})
    assert why.value.n == 3


@pytest.mark.parametrize("column", ["a text", b"bytes", 7, object(), iter([1, 2]), {"a": 1}, np.float32(1)])
def test_what_is_no_column_is_refused_and_the_others_count(column: Any):
    made, refused = rows(predicted_class=column, confidence=[0.5, 0.25])
    assert refused == {("predicted_class", "wrong_type"): 1}
    assert fields(through(made), "confidence") == [0.5, 0.25]


def test_a_data_frame_is_a_mapping_of_columns():
    class Frame:
        """As pandas has it: iteration gives names, an item is a column."""

        columns = ("age", "score")

        def __iter__(self) -> Any:
            return iter(self.columns)

        def __getitem__(self, name: str) -> Any:
            return np.array([1, 2]) if name == "age" else np.array([0.5, np.nan])

    made, refused = rows(features=Frame())
    first, second = through(made)
    assert first.features == {"age": 1.0, "score": 0.5}
    assert second.features["age"] == 2.0
    assert np.isnan(second.features["score"])
    assert refused == {}


class Hostile:
    """Raises whatever is asked of it."""

    def __len__(self) -> int:
        return 2

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError

    def __iter__(self) -> Any:
        raise ZeroDivisionError

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __float__(self) -> float:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("kind", ["column", "values", "named"])
def test_columns_that_raise_cost_themselves(name: str, kind: str):
    column = {"column": Hostile(), "values": [Hostile(), Hostile()], "named": {"a": Hostile()}}[kind]
    columns = {"value": [1.0, 2.0], name: column}
    made, refused = rows(**columns)
    assert refused
    if name != "value":
        assert fields(through(made), "value") == [1.0, 2.0]


def test_identifiers_alone_are_no_prediction():
    assert not rows(request_id=["a"])[0].predicts
    assert rows(value=[1.0])[0].predicts
    assert not rows(confidence=[7.0])[0].predicts
    assert len(rows()[0]) == 0


def test_what_is_recorded_may_be_changed_afterwards():
    embedding = np.ones((2, 3), np.float32)
    made, _ = rows(embedding=embedding)
    data = pack(made, "record", pytest.fail)
    embedding[:] = 9
    back = unpack(data)[1]
    assert isinstance(back, Rows)
    assert back.embedding is not None
    assert back.embedding.tolist() == [[1, 1, 1]] * 2

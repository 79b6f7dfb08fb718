"""What is queued is bytes: the same record afterwards, and values of foreign types as what they are worth."""

from __future__ import annotations

import enum
import gc
import marshal
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exporter.http.exchange import Exchange
from exporter.observation import Observation
from exporter.pipeline.packing import pack, unpack


class Colour(str, enum.Enum):
    RED = "red"


class Strange:
    """Of a module that no other process can import."""

    def __reduce__(self) -> Any:
        raise TypeError("not for others")


class Hostile:
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __float__(self) -> float:
        raise ZeroDivisionError


def exchange(size: int = 10, *, max_body_bytes: int = 1 << 20) -> Exchange:
    made = Exchange("POST", "/predict", b"a=1", ((b"x", b"y"),), max_body_bytes=max_body_bytes, started=1.0)
    made.request_chunk(b"?" * size)
    made.response_start(200, ((b"content-type", b"application/json"),))
    made.response_chunk(b'{"prediction": 1}')
    made.finish(2.0)
    return made


def through(item: Any) -> tuple[Any, list[tuple[str, str]]]:
    refused: list[tuple[str, str]] = []
    data = pack(item, "hook", lambda *why: refused.append(why))
    assert type(data) is bytes
    source, back = unpack(data)
    assert source == "hook"
    return back, refused


SEEN = [name for name in Exchange.__slots__ if not name.startswith("_")]
SIZES = ["request_body", "response_body", "request_size", "response_size"]


def seen(exchange: Exchange) -> dict[str, Any]:
    return {name: getattr(exchange, name) for name in (*SEEN, *SIZES)}


HEADERS = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple)
BODY = st.lists(st.binary(max_size=40), max_size=3)


@given(BODY, BODY, HEADERS, st.booleans())
def test_nothing_of_an_exchange_is_lost(asked: list[bytes], told: list[bytes], headers: Any, noted: bool):
    made = Exchange("POST", "/p\udce4th", b"q=1", headers, max_body_bytes=60, started=1.5)
    for chunk in asked:
        made.request_chunk(chunk)
    made.response_start(201, headers)
    for chunk in told:
        made.response_chunk(chunk)
    if noted:
        made.notes = {"confidence": 0.5}
    made.finish(2.5, aborted=True)
    assert seen(through(made)[0]) == seen(made)


def test_what_the_service_said_arrives():
    made = exchange()
    made.notes = {"predicted_class": "cat", "confidence": 0.5}
    made.add_embeddings(torch.ones(2, 3))
    made.add_embeddings(np.zeros((1, 5)))
    back, refused = through(made)
    assert refused == []
    assert back.notes == {"predicted_class": "cat", "confidence": 0.5}
    assert [block.tolist() for block in back.embeddings] == [[[1, 1, 1], [1, 1, 1]], [[0] * 5]]
    assert all(type(block) is np.ndarray and block.dtype == np.float32 for block in back.embeddings)


def test_what_waits_is_of_no_interest_to_the_garbage_collector_and_its_size_is_its_own():
    made = exchange(100_000)
    assert gc.is_tracked(made)
    plain = pack(made, "hook", print)
    assert not gc.is_tracked(plain)
    assert 100_000 < len(plain) < 100_500
    made.notes = {"embedding": np.zeros(65_536)}
    made.add_embeddings(np.zeros((2, 1000)))
    assert len(pack(made, "hook", print)) > len(plain) + 4 * (65_536 + 2000)
    headers = tuple((b"name%d" % n, b"x" * 100) for n in range(1000))
    headed = Exchange("POST", "/", b"", headers, max_body_bytes=9, started=0.0)
    assert len(pack(headed, "hook", print)) > 100_000


def test_values_of_any_type_arrive_as_what_they_are_worth():
    made = exchange()
    made.notes = {
        "predicted_class": Colour.RED,
        "confidence": Decimal("0.25"),
        "value": np.float32(2.5),
        "embedding": torch.ones(3, dtype=torch.bfloat16),
        "features": {
            Colour.RED: 1,
            "odd": Strange(),
            "list": (1, "a", b"b", np.float64(0.5)),
            "array": np.arange(2),
        },
        "request_id": 17,
    }
    back, refused = through(made)
    assert refused == []
    embedding = back.notes.pop("embedding")
    assert embedding.tolist() == [1, 1, 1]
    assert embedding.dtype == np.float32
    assert type(back.notes["predicted_class"]) is str
    assert back.notes == {
        "predicted_class": "red",
        "confidence": 0.25,
        "value": 2.5,
        "features": {str(Colour.RED): 1, "odd": None, "list": [1, "a", None, 0.5], "array": [0, 1]},
        "request_id": "17",
    }


def test_what_is_refused_is_counted_and_still_wins_over_the_bodies():
    made = exchange()
    made.notes = {"predicted_class": Strange(), "confidence": 7.0}
    back, refused = through(made)
    assert refused == [("predicted_class", "wrong_type"), ("confidence", "out_of_range")]
    assert back.notes == {"predicted_class": None, "confidence": None}


@pytest.mark.parametrize(
    "embedding",
    [
        np.array([Strange(), Strange()]),
        np.array([1j, 2]),
        np.array(["a", "b"]),
        np.array([1.0, 2.0], dtype=object),
        np.array([1, 2], dtype="datetime64[s]"),
        torch.tensor([1j, 2]),
        torch.ones(3).to_sparse(),
    ],
)
def test_an_embedding_that_is_no_row_of_numbers_is_refused_here(embedding: Any):
    made = exchange()
    made.notes = {"predicted_class": "cat", "embedding": embedding}
    back, refused = through(made)
    assert refused == [("embedding", "wrong_type")]
    assert back.notes == {"predicted_class": "cat", "embedding": None}


def test_blocks_of_rows_that_are_none_are_refused_here():
    made = exchange()
    for block in (np.array([[1j]]), torch.tensor([[1j]]), np.ones(3), np.ones((2, 3))):
        made.add_embeddings(block)
    back, refused = through(made)
    assert refused == [("embedding", "wrong_type")] * 2 + [("embedding", "wrong_shape")]
    assert [block.shape for block in back.embeddings] == [(2, 3)]


def test_a_value_that_raises_costs_itself():
    made = exchange()
    made.notes = {"predicted_class": "cat", "confidence": 7.0, "value": Hostile(), "request_id": Hostile()}
    back, refused = through(made)
    assert back.notes == {"predicted_class": "cat", "confidence": None, "value": None, "request_id": None}
    assert sorted(refused) == [
        ("confidence", "out_of_range"),
        ("request_id", "wrong_type"),
        ("value", "wrong_type"),
    ]


def test_features_without_an_end_end():
    endless: list[Any] = []
    endless.append(endless)
    made = exchange()
    made.notes = {"features": endless}
    back, _ = through(made)
    assert len(str(back.notes["features"])) < 100


def test_an_observation_arrives():
    made = Observation("m", "hook", 5.0, "cat", 0.5, embedding=torch.ones(2), features=[1, 2], request_id="r")
    back, refused = through(made)
    assert back.embedding.tolist() == [1, 1]
    for name in ("model", "source", "timestamp", "predicted_class", "confidence", "value", "features"):
        assert getattr(back, name) == getattr(made, name), name
    assert (back.request_id, back.latency_seconds, refused) == ("r", None, [])


def test_rows_beyond_the_bound_are_left_out_and_counted():
    made = exchange(max_body_bytes=5000)
    for _ in range(10):
        made.add_embeddings(torch.ones(3, 2))
    assert (len(made.embeddings or ()), made.rows_left_out) == (4, 18)
    back, _ = through(made)
    assert (len(back.embeddings), back.rows_left_out) == (4, 18)


def test_what_is_no_item_or_cannot_be_packed_is_an_error():
    with pytest.raises(TypeError, match="neither an exchange nor an observation"):
        pack(object(), "hook", print)  # type: ignore[arg-type]
    odd = Exchange("POST", "/", b"", ((b"a", Strange()),), max_body_bytes=9, started=0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unmarshallable"):
        pack(odd, "hook", print)


def test_without_the_care_taken_it_would_not():
    """Negative control: the same values as they are cannot be queued as bytes."""
    with pytest.raises(TypeError, match="not for others"):
        pickle.dumps({"odd": Strange()})
    for value in (Colour.RED, Strange()):
        with pytest.raises(ValueError, match="unmarshallable"):
            marshal.dumps(value)
    assert type(marshal.loads(marshal.dumps(np.float64(1.0)))) is bytes

"""Items reach another process as they are, and values of foreign types as what they are worth."""

from __future__ import annotations

import enum
import io
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from exporter.http.exchange import Exchange, unpacked
from exporter.observation import Observation
from exporter.pipeline.queue import Waiting
from exporter.processes.portable import portable, restored


class Colour(str, enum.Enum):
    RED = "red"


class Strange:
    """Of a module that no other process can import."""

    def __reduce__(self) -> Any:
        raise TypeError("not for others")


def exchange(size: int = 10) -> Exchange:
    made = Exchange("POST", "/predict", b"a=1", ((b"x", b"y"),), max_body_bytes=1 << 20, started=1.0)
    made.request_chunk(b"?" * size)
    made.response_start(200, ((b"content-type", b"application/json"),))
    made.response_chunk(b'{"prediction": 1}')
    made.finish(2.0)
    return made


def across(pairs: list[tuple[str, Any]], refuse: Any = lambda *_: None) -> list[tuple[str, Any]]:
    waiting: Waiting[Any] = Waiting()
    for pair in pairs:
        waiting.append(pair)
    parts, views = portable(waiting.take(len(pairs)), refuse)
    following = io.BytesIO(b"".join(views))
    return restored(pickle.loads(pickle.dumps(parts)), lambda size: memoryview(following.read(size)))


def through(item: Any) -> tuple[Any, list[tuple[str, str]]]:
    refused: list[tuple[str, str]] = []
    ((source, back),) = across([("hook", item)], lambda *why: refused.append(why))
    assert source == "hook"
    return back if isinstance(back, Exchange | Observation) else unpacked(back), refused


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("annotated", [False, True])
def test_an_exchange_arrives(size: int, annotated: bool):
    made = exchange(size)
    if annotated:
        made.annotate({"predicted_class": "cat", "confidence": 0.5})
        made.add_embeddings(torch.ones(2, 3))
    back, refused = through(made.packed())
    assert refused == []
    for name in (
        "method",
        "path",
        "query",
        "request_headers",
        "request_body",
        "response_body",
        "status",
        "ended",
    ):
        assert getattr(back, name) == getattr(made, name), name
    if annotated:
        assert back.notes == {"predicted_class": "cat", "confidence": 0.5}
        assert [row.tolist() for row in back.embeddings] == [[1, 1, 1], [1, 1, 1]]
        assert all(type(row) is np.ndarray for row in back.embeddings)


def test_values_of_any_type_arrive_as_what_they_are_worth():
    made = exchange()
    made.annotate(
        {
            "predicted_class": Colour.RED,
            "confidence": Decimal("0.25"),
            "value": np.float32(2.5),
            "embedding": torch.ones(3, dtype=torch.bfloat16),
            "features": {Colour.RED: 1, "odd": Strange(), "list": (1, "a", b"b")},
            "request_id": 17,
        }
    )
    back, refused = through(made.packed())
    assert refused == []
    embedding = back.notes.pop("embedding")
    assert embedding.tolist() == [1, 1, 1]
    assert embedding.dtype == np.float32
    assert back.notes == {
        "predicted_class": "red",
        "confidence": 0.25,
        "value": 2.5,
        "features": {str(Colour.RED): 1, "odd": None, "list": [1, "a", None]},
        "request_id": "17",
    }


def test_what_is_refused_is_counted_here_and_still_wins_over_the_bodies():
    made = exchange()
    made.annotate({"predicted_class": Strange(), "confidence": 7.0})
    back, refused = through(made.packed())
    assert refused == [("predicted_class", "wrong_type"), ("confidence", "out_of_range")]
    assert back.notes == {"predicted_class": None, "confidence": None}


def test_an_observation_arrives():
    made = Observation(
        "m", "ingest", 5.0, "cat", 0.5, embedding=torch.ones(2), features=[1, 2], request_id="r"
    )
    back, _ = through(made)
    assert back.embedding.tolist() == [1, 1]
    assert (back.predicted_class, back.confidence, back.features, back.request_id) == (
        "cat",
        0.5,
        [1, 2],
        "r",
    )


def test_batches_of_all_kinds_arrive_in_order():
    said = exchange()
    said.annotate({"confidence": 0.5})
    plain = exchange().packed()
    items = [plain, said.packed(), exchange(), Observation("m", "hook", 7.0), plain]
    back = across([("hook", item) for item in items])
    assert [type(item) for _, item in back] == [type(item) for item in items]
    both = across([("hook", plain), ("ingest", plain)])
    assert both == [("hook", plain), ("ingest", plain)]
    assert across([]) == []


def test_what_cannot_be_sent_at_all_is_left_out(caplog: pytest.LogCaptureFixture):
    odd = Exchange("POST", "/", b"", ((b"a", Strange()),), max_body_bytes=9, started=0.0)  # type: ignore[arg-type]
    items = [("hook", exchange().packed()), ("hook", odd.packed()), ("hook", exchange().packed())]
    assert len(across(items)) == 2
    assert "could not be handed" in caplog.text


def test_without_the_care_taken_it_would_not():
    """Negative control: the same values as they are cannot be sent, or need the sender's modules."""
    with pytest.raises(TypeError, match="not for others"):
        pickle.dumps({"odd": Strange()})

"""What a service says becomes plain values at once, whatever it does with its own objects afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from exporter.http.exchange import Exchange
from exporter.pipeline.packing import pack, unpack
from exporter.receivers.asgi.context import current_exchange, observe
from exporter.receivers.plain import plain_block, plain_fields


def plain(**given: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    refused: list[tuple[str, str]] = []
    return plain_fields(given, lambda *why: refused.append(why)), refused


@pytest.mark.parametrize(
    "row",
    [
        np.ones(3, np.float32),
        np.ones(6, np.float32)[::2],
        np.ones(3),
        [1.0, 1, True],
        torch.ones(3),
        torch.ones(3, requires_grad=True),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(1, 3),
    ],
)
def test_an_embedding_of_any_kind_is_float32_bytes(row: Any):
    assert plain(embedding=row) == ({"embedding": np.ones(3, np.float32).tobytes()}, [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"\0" * 12, "wrong_type"),
        ("a text", "wrong_type"),
        ([[1.0], [2.0, 3.0]], "wrong_type"),
        (np.ones((2, 3), np.float32), "wrong_shape"),
        (np.ones(0, np.float32), "wrong_shape"),
        (np.float32(1), "wrong_shape"),
    ],
)
def test_what_is_no_row_is_refused(row: Any, reason: str):
    assert plain(embedding=row) == ({"embedding": None}, [("embedding", reason)])


@pytest.mark.parametrize(
    ("confidence", "kept"), [(0.0, 0.0), (1.0, 1.0), (1, 1.0), (1.5, None), (float("nan"), None), ("x", None)]
)
def test_the_short_way_for_a_confidence_has_the_bounds_of_the_long_one(confidence: Any, kept: Any):
    fields, refused = plain(confidence=confidence)
    assert fields == {"confidence": kept}
    assert len(refused) == (kept is None)


def test_a_class_that_is_long_or_not_ascii_takes_the_long_way():
    assert plain(predicted_class="x" * 1000)[0] == {"predicted_class": "x" * 128}
    assert plain(predicted_class="\ud800")[0] == {"predicted_class": "?"}


def test_blocks_are_bytes_with_a_shape_or_a_reason():
    assert plain_block(torch.ones(2, 3)) == (np.ones(6, np.float32).tobytes(), (2, 3))
    assert plain_block(np.ones(3)) == "wrong_shape"
    assert plain_block("rows") == "wrong_type"


@pytest.fixture
def exchange() -> Any:
    made = Exchange("POST", "/predict", max_body_bytes=1 << 20, started=1.0)
    token = current_exchange.set(made)
    yield made
    current_exchange.reset(token)


def test_what_is_observed_may_be_changed_afterwards(exchange: Exchange):
    row, features = np.ones(3, np.float32), [1.0]
    observe(embedding=row, features=features)
    row[:] = 9
    features.append(2.0)
    exchange.finish(2.0)
    _, back = unpack(pack(exchange, "hook", pytest.fail))
    assert back.notes["embedding"].tolist() == [1, 1, 1]  # type: ignore[union-attr, index]
    assert back.notes["features"] == [1.0]  # type: ignore[union-attr, index]


def test_what_is_refused_counts_once_when_the_exchange_is_handed_over(exchange: Exchange):
    observe(confidence=7.0, embedding="no")
    observe(value="no", predicted_class="cat")
    assert exchange.notes == {"confidence": None, "embedding": None, "value": None, "predicted_class": "cat"}
    exchange.finish(2.0)
    refused: list[Any] = []
    _, back = unpack(pack(exchange, "hook", lambda *why: refused.append(why)))
    assert sorted(refused) == [
        ("confidence", "out_of_range"),
        ("embedding", "wrong_type"),
        ("value", "wrong_type"),
    ]
    assert back.notes == exchange.notes  # type: ignore[union-attr]


def test_a_tensor_on_a_device_is_fetched_when_nobody_waits_for_it(exchange: Exchange):
    """``meta`` is the one device beside the host that any machine has; nothing can be fetched from it."""
    observe(embedding=torch.ones(3, device="meta"), predicted_class="cat")
    assert exchange.refused is None
    assert exchange.notes is not None
    assert exchange.notes["embedding"].device.type == "meta"
    exchange.finish(2.0)
    refused: list[Any] = []
    _, back = unpack(pack(exchange, "hook", lambda *why: refused.append(why)))
    assert refused == [("embedding", "wrong_type")]
    assert back.notes == {"embedding": None, "predicted_class": "cat"}  # type: ignore[union-attr]

"""A record that waits is the same record afterwards."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporter.http.exchange import AnnotatedExchange, Exchange, unpacked

HEADERS = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple)


def seen(exchange: Exchange) -> dict[str, Any]:
    names = [name for name in Exchange.__slots__ if not name.startswith("_")]
    bodies = ("request_body", "response_body", "request_size", "response_size", "n_bytes")
    return {name: getattr(exchange, name) for name in (*names, *bodies)}


BODY = st.lists(st.binary(max_size=40), max_size=3)


@given(BODY, BODY, HEADERS, st.booleans())
def test_nothing_is_lost(asked: list[bytes], answered: list[bytes], headers: Any, annotated: bool) -> None:
    exchange = Exchange("POST", "/p\udce4th", b"q=1", headers, max_body_bytes=60, started=1.5)
    for chunk in asked:
        exchange.request_chunk(chunk)
    exchange.response_start(201, headers)
    for chunk in answered:
        exchange.response_chunk(chunk)
    if annotated:
        exchange.annotate({"confidence": 0.5})
        exchange.add_embeddings([[1.0, 2.0]])
    exchange.finish(2.5, aborted=True)
    packed = exchange.packed()
    assert isinstance(packed, AnnotatedExchange if annotated else bytes)
    assert seen(unpacked(packed)) == seen(exchange)


def test_what_waits_is_of_no_interest_to_the_garbage_collector() -> None:
    exchange = Exchange("POST", "/", b"", ((b"a", b"b"),), max_body_bytes=9, started=0.0)
    assert not gc.is_tracked(exchange.packed())
    assert gc.is_tracked(exchange)


def test_what_it_holds_is_counted() -> None:
    exchange = Exchange("POST", "/", max_body_bytes=1 << 20, started=0.0)
    exchange.request_chunk(b"x" * 100_000)
    exchange.response_chunk(b"y" * 50_000)
    assert 150_000 < len(exchange.packed()) < 151_000
    exchange.add_embeddings(np.zeros((2, 100)))
    assert 151_600 < exchange.packed().n_bytes < 154_000


def test_what_cannot_be_packed_stays_as_it_is() -> None:
    exchange = Exchange("POST", "/", b"", ((b"a", object()),), max_body_bytes=9, started=0.0)  # type: ignore[arg-type]
    assert exchange.packed() is exchange
    assert unpacked(exchange) is exchange

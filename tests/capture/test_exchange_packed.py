"""A record that waits as one block of bytes is the same record afterwards."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.capture.exchange import Exchange, PackedExchange

HEADERS = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple)


def seen(exchange: Exchange) -> dict[str, Any]:
    names = [name for name in Exchange.__slots__ if not name.startswith("_")]
    bodies = ("request_body", "response_body", "request_size", "response_size", "n_bytes")
    return {name: getattr(exchange, name) for name in (*names, *bodies)}


@given(st.lists(st.binary(max_size=40), max_size=3), st.lists(st.binary(max_size=40), max_size=3), HEADERS)
def test_nothing_is_lost(asked: list[bytes], answered: list[bytes], headers: Any) -> None:
    exchange = Exchange("POST", "/p\udce4th", b"q=1", headers, max_body_bytes=60, started=1.5)
    for chunk in asked:
        exchange.request_chunk(chunk)
    exchange.response_start(201, headers)
    for chunk in answered:
        exchange.response_chunk(chunk)
    exchange.annotate({"confidence": 0.5})
    exchange.add_embeddings([[1.0, 2.0]])
    exchange.finish(2.5, aborted=True)
    packed = exchange.packed()
    assert isinstance(packed, PackedExchange)
    assert packed.n_bytes == exchange.n_bytes
    assert seen(packed.unpacked()) == seen(exchange)


def test_large_bodies_are_not_copied() -> None:
    exchange = Exchange("POST", "/", max_body_bytes=1 << 20, started=0.0)
    exchange.request_chunk(b"x" * 100_000)
    assert exchange.packed() is exchange


def test_what_cannot_be_packed_stays_as_it_is() -> None:
    class Name(bytes):
        pass

    exchange = Exchange("POST", "/", b"", ((Name(b"a"), object()),), max_body_bytes=9, started=0.0)  # type: ignore[arg-type]
    assert exchange.packed() is exchange

"""Exchanges for the protocols' tests, as a service and its client would produce them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from exporter.http.exchange import Exchange


def exchange(
    response: Any,
    request: Any = None,
    *,
    request_headers: tuple[tuple[bytes, bytes], ...] = (),
    headers: tuple[tuple[bytes, bytes], ...] = (),
    max_body_bytes: int = 1 << 20,
) -> Exchange:
    """A finished exchange; bodies that are not bytes are written as JSON."""
    made = Exchange("POST", "/predict", b"", request_headers, max_body_bytes=max_body_bytes, started=100.0)
    if request is not None:
        made.request_chunk(request if isinstance(request, bytes) else orjson.dumps(request))
    made.response_start(200, headers)
    body = response if isinstance(response, bytes) else orjson.dumps(response)
    middle = len(body) // 2
    made.response_chunk(body[:middle])
    made.response_chunk(body[middle:])
    made.finish(100.5)
    return made


@pytest.fixture(name="exchange")
def exchange_fixture() -> Callable[..., Exchange]:
    return exchange

"""What a decoder is, and what all of them share: bodies, bounds, and identifiers.

A *decoder* takes an :class:`Exchange` and returns *readings*: one mapping of field name to raw value
for each instance that the exchange holds. The fields are those of an observation:
``predicted_class``, ``confidence``, ``value``, ``embedding``, ``features`` and ``request_id``.
Decoders are pure, know nothing of metrics, and raise :class:`PayloadError` where an exchange cannot
be read. What the values are worth is decided later, in one place, by :mod:`exporter.decoders.values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from exporter.errors import PayloadError, unreadable
from exporter.http.encodings import decode
from exporter.http.exchange import Exchange, Headers, header

Reading = dict[str, Any]

MAX_INSTANCES = 65_536


Decoder = Callable[[Exchange], list[Reading]]
"""The readings of an exchange, one for each instance; raises :class:`PayloadError` where it has none."""


def request_bytes(exchange: Exchange) -> bytes:
    """The request's body with its content encoding undone."""
    if exchange.request_truncated:
        raise _too_large("request", exchange.max_body_bytes)
    return decoded(exchange.request_body, exchange.request_headers, exchange.max_body_bytes)


def response_bytes(exchange: Exchange) -> bytes:
    """The response's body with its content encoding undone."""
    if exchange.response_truncated:
        raise _too_large("response", exchange.max_body_bytes)
    return decoded(exchange.response_body, exchange.response_headers, exchange.max_body_bytes)


def request_json(exchange: Exchange) -> Any:
    """The request's body as JSON."""
    return parse_json(request_bytes(exchange), "request")


def response_json(exchange: Exchange) -> Any:
    """The response's body as JSON."""
    return parse_json(response_bytes(exchange), "response")


def as_object(document: Any, which: str) -> dict[str, Any]:
    """A parsed document that its protocol wants to be an object."""
    if not isinstance(document, dict):
        raise unreadable(f"{which} is not a JSON object")
    return document


def parse_json(body: bytes, which: str) -> Any:
    """JSON text as Python values; ``which`` names it in the error."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise unreadable(f"{which} is not JSON: {error}") from None


def decoded(body: bytes, headers: Headers, max_bytes: int) -> bytes:
    """Undo ``content-encoding``, up to ``max_bytes`` of decoded data."""
    encoding = header(headers, b"content-encoding")
    return decode(body, encoding, max_bytes) if encoding else body


def limited(count: int) -> None:
    """Refuse an exchange that would become more than ``MAX_INSTANCES`` observations."""
    if count > MAX_INSTANCES:
        raise unreadable(f"the response has {count} instances; an exchange may have up to {MAX_INSTANCES}")


def identified(readings: list[Reading], request_id: Any) -> list[Reading]:
    """The readings with the exchange's identifier.

    One reading takes it as it is; the i-th of several, counted from 0, is known as ``ID:i``, so that
    a label which arrives later can be joined to one instance of a batch.
    """
    for index, reading in enumerate(readings):
        reading["request_id"] = request_id if len(readings) == 1 else f"{request_id}:{index}"
    return readings


def with_request_id(readings: list[Reading], exchange: Exchange, known: Any = None) -> list[Reading]:
    """The readings with ``known`` as identifier, or the one in the ``x-request-id`` headers."""
    if known is not None and known != "" and isinstance(known, (str, int)) and not isinstance(known, bool):
        return identified(readings, known)
    for headers in (exchange.response_headers, exchange.request_headers):
        for name, value in headers:
            if name == b"x-request-id" and value:
                return identified(readings, value.decode("utf-8", "replace"))
    return readings


def _too_large(which: str, max_bytes: int) -> PayloadError:
    return PayloadError("body_too_large", f"{which} is longer than max_body_bytes ({max_bytes})")

"""Bodies and headers to fields.

A *reader* takes an :class:`Exchange` and returns *readings*: one mapping of field name to raw value
for each instance that the exchange answered. Readers are pure, know nothing of metrics, and raise
:class:`PayloadError` where an exchange cannot be read. What the values are worth is decided later,
in one place, by :mod:`exporter.decoders.values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from exporter.config import CaptureConfig
from exporter.errors import PayloadError
from exporter.http.encodings import decode
from exporter.http.exchange import Exchange, Headers, header

Reading = dict[str, Any]
Reader = Callable[[Exchange], list[Reading]]


def make_reader(config: CaptureConfig) -> Reader:
    """The reader that ``capture.payload`` names, with ``capture.fields`` laid over it.

    Fields that the mapping names win over what the preset finds.
    """
    from exporter.decoders.addresses import FieldMapping, read_headers
    from exporter.decoders.auto import read_auto
    from exporter.decoders.kserve_v1 import read_kserve_v1
    from exporter.decoders.open_inference_v2 import read_open_inference_v2
    from exporter.decoders.openai import read_openai
    from exporter.decoders.torchserve import read_torchserve

    presets: dict[str, Reader] = {
        "auto": read_auto,
        "headers": read_headers,
        "kserve-v1": read_kserve_v1,
        "open-inference-v2": read_open_inference_v2,
        "openai": read_openai,
        "torchserve": read_torchserve,
    }
    mapping = FieldMapping(config.fields)
    if config.payload == "fields":
        return mapping.read
    preset = presets[config.payload]
    if mapping.empty:
        return preset

    def read_both(exchange: Exchange) -> list[Reading]:
        mapped = _if_any(mapping.read, exchange)
        if not mapped:
            return preset(exchange)
        found = _if_any(preset, exchange)
        if len(mapped) == 1 and mapped[0].keys() == {"request_id"} and found:
            return identified(found, mapped[0]["request_id"])
        if len(found) != len(mapped):
            return mapped
        return [{**preset_reading, **reading} for preset_reading, reading in zip(found, mapped, strict=True)]

    return read_both


def identified(readings: list[Reading], request_id: Any) -> list[Reading]:
    """The readings with the exchange's identifier.

    One reading takes it as it is; the i-th of several, counted from 0, is known as ``ID:i``, so that
    a label which arrives later can be joined to one instance of a batch.
    """
    if len(readings) == 1:
        readings[0]["request_id"] = request_id
    else:
        for index, reading in enumerate(readings):
            reading["request_id"] = f"{request_id}:{index}"
    return readings


def request_bytes(exchange: Exchange) -> bytes:
    """The request's body with its content encoding undone."""
    if exchange.request_truncated:
        raise _too_large("request", exchange)
    return decoded(exchange.request_body, exchange.request_headers, exchange.max_body_bytes)


def response_bytes(exchange: Exchange) -> bytes:
    """The answer's body with its content encoding undone."""
    if exchange.response_truncated:
        raise _too_large("answer", exchange)
    return decoded(exchange.response_body, exchange.response_headers, exchange.max_body_bytes)


def request_json(exchange: Exchange) -> Any:
    """The request's body as JSON."""
    return parse_json(request_bytes(exchange), "request")


def response_json(exchange: Exchange) -> Any:
    """The answer's body as JSON."""
    body = exchange.response_body
    if exchange.response_truncated or header(exchange.response_headers, b"content-encoding") is not None:
        body = response_bytes(exchange)
    return parse_json(body, "answer")


def parse_json(body: bytes, which: str) -> Any:
    """JSON text as Python values; ``which`` names it in the error."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadError("unreadable", f"{which} is not JSON: {error}") from None


def decoded(body: bytes, headers: Headers, max_bytes: int) -> bytes:
    """Undo ``content-encoding``, up to ``max_bytes`` of decoded data."""
    encoding = header(headers, b"content-encoding")
    return decode(body, encoding, max_bytes) if encoding else body


def _if_any(read: Reader, exchange: Exchange) -> list[Reading]:
    try:
        return read(exchange)
    except PayloadError:
        return []


def _too_large(which: str, exchange: Exchange) -> PayloadError:
    return PayloadError(
        "body_too_large", f"{which} is longer than max_body_bytes ({exchange.max_body_bytes})"
    )

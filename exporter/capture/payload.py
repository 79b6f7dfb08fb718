"""Bodies and headers to fields.

A *reader* takes an :class:`Exchange` and returns *readings*: one mapping of field name to raw value
for each instance that the exchange answered. Readers are pure, know nothing of metrics, and raise
:class:`PayloadError` where an exchange cannot be read. What the values are worth is decided later,
in one place, by :mod:`exporter.capture.values`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import orjson

from exporter.capture.exchange import Exchange, Headers, header
from exporter.config import CaptureConfig
from exporter.errors import PayloadError

Reading = dict[str, Any]
Reader = Callable[[Exchange], list[Reading]]


def make_reader(config: CaptureConfig) -> Reader:
    """The reader that ``capture.payload`` names, with ``capture.fields`` laid over it.

    Fields that the mapping names win over what the preset finds.
    """
    from exporter.capture.autodetect import read_auto
    from exporter.capture.mapping import FieldMapping, read_headers

    presets: dict[str, Reader] = {"auto": read_auto, "headers": read_headers}
    mapping = FieldMapping(config.fields)
    if config.payload == "fields":
        return mapping.read
    preset = presets[config.payload]
    if mapping.empty:
        return preset

    def read_both(exchange: Exchange) -> list[Reading]:
        mapped = mapping.read(exchange)
        try:
            found = preset(exchange)
        except PayloadError:
            found = []
        if len(found) != len(mapped):
            return mapped
        return [{**preset_reading, **reading} for preset_reading, reading in zip(found, mapped, strict=True)]

    return read_both


def request_json(exchange: Exchange) -> Any:
    """The request's body as JSON."""
    return _json(
        exchange.request_body, exchange.request_headers, exchange.request_truncated, exchange, "request"
    )


def response_json(exchange: Exchange) -> Any:
    """The answer's body as JSON."""
    return _json(
        exchange.response_body, exchange.response_headers, exchange.response_truncated, exchange, "answer"
    )


def decoded(body: bytes, headers: Headers, max_bytes: int) -> bytes:
    """Undo ``content-encoding``, up to ``max_bytes`` of decoded data."""
    encoding = (header(headers, b"content-encoding") or b"identity").strip().lower()
    if encoding in (b"identity", b""):
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise PayloadError("unreadable", f"content-encoding {encoding!r} is not one of gzip, deflate")
    decoder = zlib.decompressobj(wbits=47)
    try:
        data = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise PayloadError("unreadable", f"body is not valid {encoding.decode()}: {error}") from None
    if len(data) > max_bytes:
        raise PayloadError("body_too_large", f"body decodes to more than max_body_bytes ({max_bytes})")
    return data


def _too_large(which: str, exchange: Exchange) -> PayloadError:
    return PayloadError(
        "body_too_large", f"{which} is longer than max_body_bytes ({exchange.max_body_bytes})"
    )


def _json(body: bytes, headers: Headers, max_bytes: int, which: str) -> Any:
    try:
        return orjson.loads(decoded(body, headers, max_bytes))
    except orjson.JSONDecodeError as error:
        raise PayloadError("unreadable", f"{which} is not JSON: {error}") from None

"""TorchServe: what its built-in handlers give, and the envelopes it can be put into."""

from __future__ import annotations

from typing import Any

from exporter.config.capture import Numbers
from exporter.decoders import kserve_v1, open_inference_v2
from exporter.decoders.base import Reading, limited, parse_json, response_bytes, with_request_id
from exporter.decoders.features import add_request
from exporter.decoders.items import instances, item_reading
from exporter.decoders.vectors import Context, from_probabilities, numeric
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

_MAX_TEXT = 128


def read_torchserve(exchange: Exchange, numbers: Numbers = "auto") -> list[Reading]:
    """One reading for each instance.

    A mapping from class to probability (``image_classifier``, ``text_classifier``), a list of them, a
    bare class, number or vector, a short text, or a KServe V1 or V2 document, if the service runs in
    one of those envelopes.
    """
    body = response_bytes(exchange)
    try:
        document = parse_json(body, "response")
    except PayloadError:
        text = body.decode("utf-8", "replace").strip()
        if not text or len(text) > _MAX_TEXT or not text.isprintable() or text[0] in "{[":
            raise
        document = text
    if isinstance(document, dict):
        if open_inference_v2.is_open_inference_v2(document):
            return open_inference_v2.read_document(document, b"", exchange)
        if kserve_v1.is_kserve_v1(document):
            return kserve_v1.read_document(document, exchange, numbers)
    context = Context(numbers)
    readings = [reading for item in _items(document) for reading in _readings(item, context)]
    limited(len(readings))
    if not any(readings):
        raise PayloadError("no_prediction", "the response is not one that TorchServe's handlers give")
    add_request(readings, exchange)
    return with_request_id(readings, exchange)


def _items(document: Any) -> list[Any]:
    """The instances in a document: its items, unless it is one vector."""
    if isinstance(document, list) and (not numeric(document) or all(type(item) is int for item in document)):
        limited(len(document))
        return document
    return [document]


def _readings(item: Any, context: Context) -> list[Reading]:
    if isinstance(item, dict) and (found := instances(item, context)):
        return found  # also what is wrapped, which says more than a vector beside it
    reading = item_reading(item, context)
    if not reading and isinstance(item, dict) and (best := from_probabilities(item)):
        # Of the most probable classes only, mostly: they need not sum to 1.
        reading = best if min(item.values()) >= 0.0 and best["confidence"] <= 1.0 else {}
    return [reading] if reading else instances(item, context)

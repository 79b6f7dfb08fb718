"""TorchServe: what its built-in handlers answer, and the envelopes it can be put into."""

from __future__ import annotations

from typing import Any

from exporter.decoders import kserve_v1, open_inference_v2
from exporter.decoders.plain import fields, from_probabilities, instances
from exporter.decoders.registry import Reading, parse_json, request_json, response_bytes
from exporter.decoders.rows import add_row, limited, numeric, vector_reading, with_request_id
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

_MAX_TEXT = 128
_REQUEST_NAMES = ("instances", "data", "inputs", "features")


def read_torchserve(exchange: Exchange) -> list[Reading]:
    """One reading for each answer.

    A mapping from class to probability (``image_classifier``, ``text_classifier``), a list of them, a
    bare class, number or vector, a short text, or a KServe V1 or V2 document, if the service runs in
    one of those envelopes.
    """
    body = response_bytes(exchange)
    try:
        document = parse_json(body, "answer")
    except PayloadError:
        text = body.decode("utf-8", "replace").strip()
        if not text or len(text) > _MAX_TEXT or not text.isprintable() or text[0] in "{[":
            raise
        document = text
    if isinstance(document, dict):
        if open_inference_v2.is_open_inference_v2(document):
            return open_inference_v2.read_document(document, b"", exchange)
        if kserve_v1.is_kserve_v1(document):
            return kserve_v1.read_document(document, exchange)
    readings = [reading for item in _answers(document) for reading in _readings(item)]
    limited(len(readings))
    if not any(readings):
        raise PayloadError("no_prediction", "the answer is not one that TorchServe's handlers give")
    _add_rows(readings, exchange)
    return with_request_id(readings, exchange)


def class_probabilities(document: dict[str, Any]) -> Reading:
    """The best class of a mapping from class to probability; empty for any other mapping."""
    values = list(document.values())
    if not numeric(values) or not all(0.0 <= value <= 1.0 for value in values):
        return {}
    return from_probabilities(document)


def _answers(document: Any) -> list[Any]:
    """The answers in a document: its items, unless it is one vector."""
    if isinstance(document, list) and (not numeric(document) or all(type(item) is int for item in document)):
        limited(len(document))
        return document
    return [document]


def _readings(item: Any) -> list[Reading]:
    if isinstance(item, dict):
        reading = fields(item) or class_probabilities(item)
        return [reading] if reading else instances(item)
    if isinstance(item, list):
        return [vector_reading(item)] if numeric(item) else instances(item)
    if isinstance(item, float):
        return [{"value": item}]
    return [] if item is None else [{"predicted_class": item}]


def _add_rows(readings: list[Reading], exchange: Exchange) -> None:
    if exchange.request_body[:1] not in (b"{", b"["):
        return
    try:
        document = request_json(exchange)
    except PayloadError:
        return
    rows = document
    if isinstance(document, dict):
        rows = next((document[name] for name in _REQUEST_NAMES if name in document), None)
    if numeric(rows) and len(readings) == 1:
        rows = [rows]
    if isinstance(rows, list) and len(rows) == len(readings):
        for reading, row in zip(readings, rows, strict=True):
            add_row(reading, row)

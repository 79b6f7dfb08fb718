"""Seldon's V1 protocol: ``data`` as an array or tensor with the names of its columns.

Source: Seldon Core's external prediction API.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from exporter.decoders.base import Reading, as_object, limited, response_json, with_request_id
from exporter.decoders.features import add_request, reshaped, rows_asked
from exporter.decoders.items import batch
from exporter.decoders.vectors import Context
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

_FORMS = ("ndarray", "tensor")


def is_seldon(document: dict[str, Any]) -> bool:
    """Whether a response bears the protocol's mark: data in one of its forms."""
    data = document.get("data")
    return isinstance(data, dict) and any(form in data for form in _FORMS)


def read_seldon(exchange: Exchange) -> list[Reading]:
    """One reading for each row: a class and its confidence, by the columns' names, a value, a vector."""
    return read_document(as_object(response_json(exchange), "response"), exchange)


def read_document(document: dict[str, Any], exchange: Exchange) -> list[Reading]:
    """As :func:`read_seldon`, for a response that is parsed already."""
    if not is_seldon(document):
        raise PayloadError("no_prediction", "the response has neither data.ndarray nor data.tensor")
    data = document["data"]
    rows = data.get("ndarray")
    if rows is None and isinstance(data["tensor"], dict):
        rows = reshaped(data["tensor"])
    if not isinstance(rows, list) or not rows:
        raise PayloadError("no_prediction", "data of the response holds no rows")
    limited(len(rows))
    readings = batch(rows, Context(asked=partial(rows_asked, exchange)))
    if not readings:
        raise PayloadError("no_prediction", "no row of data says a class, number or vector")
    names = data.get("names")
    if isinstance(names, list) and len(readings) == len(rows):
        for reading, row in zip(readings, rows, strict=True):
            if isinstance(row, list) and len(row) == len(names) and "confidence" in reading:
                reading["predicted_class"] = names[reading["predicted_class"]]
    add_request(readings, exchange)
    meta = document.get("meta")
    return with_request_id(readings, exchange, meta.get("puid") if isinstance(meta, dict) else None)

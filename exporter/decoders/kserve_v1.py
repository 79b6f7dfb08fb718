"""KServe's V1 protocol and TensorFlow Serving's REST API, which it grew out of.

Source: TensorFlow Serving's RESTful API (predict in row and column format, classify, regress) and
KServe's V1 data plane.
"""

from __future__ import annotations

from typing import Any

from exporter.decoders.plain import fields
from exporter.decoders.registry import Reading, request_json, response_json
from exporter.decoders.rows import (
    add_row,
    limited,
    marks,
    may_hold,
    numeric,
    vector_reading,
    with_request_id,
)
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

_BATCHED_REQUEST = marks("instances", "inputs", "examples")


def is_kserve_v1(document: Any) -> bool:
    """Whether an answer bears the protocol's mark: a list of predictions."""
    return isinstance(document.get("predictions"), list)


def read_kserve_v1(exchange: Exchange) -> list[Reading]:
    """One reading for each prediction.

    Whole numbers, text and booleans are classes, floats are values, vectors that are distributions
    give class and confidence, other vectors are embeddings, and objects are read by their usual names.
    """
    document = response_json(exchange)
    if not isinstance(document, dict):
        raise PayloadError("unreadable", "the answer is not an object with predictions")
    return read_document(document, exchange)


def read_document(document: dict[str, Any], exchange: Exchange) -> list[Reading]:
    """As :func:`read_kserve_v1`, for an answer that is parsed already."""
    predictions = _predictions(document)
    limited(len(predictions))
    readings = [prediction_reading(item) for item in predictions]
    if not any(readings):
        raise PayloadError(
            "no_prediction", "the answer has no predictions that say a class, number or vector"
        )
    rows = request_rows(exchange)
    if len(rows) == len(readings):
        for reading, row in zip(readings, rows, strict=True):
            add_row(reading, row)
    return with_request_id(readings, exchange, document.get("id"))


def prediction_reading(item: Any) -> Reading:
    """A reading from one prediction, whatever its shape; empty where it says nothing."""
    if isinstance(item, dict):
        return fields(item) or _named_outputs(item)
    if isinstance(item, list):
        return vector_reading(item)
    if isinstance(item, float):
        return {"value": item}
    return {} if item is None else {"predicted_class": item}


def request_rows(exchange: Exchange) -> list[Any]:
    """The instances that were asked about; none where the request was not kept or has none."""
    if not may_hold(exchange, _BATCHED_REQUEST):
        return []
    try:
        document = request_json(exchange)
    except PayloadError:
        return []
    if not isinstance(document, dict):
        return []
    for name in ("instances", "inputs", "examples"):
        rows = document.get(name)
        if isinstance(rows, list):
            return [None if isinstance(row, dict) and "b64" in row else row for row in rows]
        if isinstance(rows, dict):
            return _transposed(rows)
    return []


def _predictions(document: dict[str, Any]) -> list[Any]:
    predictions = document.get("predictions")
    if isinstance(predictions, list):
        return predictions
    outputs = document.get("outputs")
    if isinstance(outputs, list):
        return outputs
    if isinstance(outputs, dict):
        return _transposed(outputs)
    result = document.get("result")
    if isinstance(result, list):
        return [_ranked(item) if isinstance(item, list) else item for item in result]
    raise PayloadError("no_prediction", "the answer has neither predictions nor outputs nor result")


def _transposed(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Columns of equal length as one object for each row."""
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    lengths = {len(column) for column in lists.values()}
    if len(lengths) != 1:
        return []
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _ranked(pairs: list[Any]) -> Any:
    """The best of an instance's (label, score) pairs."""
    if not pairs or not all(
        isinstance(pair, list) and len(pair) == 2 and numeric(pair[1:]) for pair in pairs
    ):
        return pairs
    label, score = max(pairs, key=lambda pair: pair[1])
    return {"predicted_class": label, "confidence": score}


def _named_outputs(outputs: dict[str, Any]) -> Reading:
    """From a model's named outputs: what each of its vectors says, the first one winning."""
    reading: Reading = {}
    for output in outputs.values():
        if isinstance(output, list):
            reading = {**vector_reading(output), **reading}
    return reading

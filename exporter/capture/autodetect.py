"""The preset ``auto``: the usual names, wherever services of the plain JSON kind put them."""

from __future__ import annotations

import math
from typing import Any

from exporter.capture.exchange import Exchange, header
from exporter.capture.payload import Reading, request_json, response_json
from exporter.errors import PayloadError

CLASS_NAMES = ("predicted_class", "prediction", "predicted", "label", "class_name", "class", "category")
CONFIDENCE_NAMES = ("probability", "confidence", "score", "prob")
PROBABILITIES_NAMES = ("probabilities", "scores", "confidences", "probs")
EMBEDDING_NAMES = ("embedding", "embeddings", "feature_vector")
VALUE_NAMES = ("value", "predicted_value", "output")
WRAPPERS = ("result", "output", "data", "response", "prediction")
BATCHES = ("predictions", "results", "outputs", "instances")
REQUEST_ID_NAMES = ("request_id", "id", "record_id")
REQUEST_FEATURES = ("features", "instances", "inputs", "data")
_REQUEST_MARKS = tuple(f'"{name}"'.encode() for name in REQUEST_FEATURES)
_SUM_TOLERANCE = 1.001


def read_auto(exchange: Exchange) -> list[Reading]:
    """Find class, confidence, value, embedding and features by their usual names.

    ``probabilities`` (a list, or a mapping from class to probability) gives the arg max as the class
    and the maximum as the confidence. A list of answers gives one reading for each.
    """
    readings = _instances(response_json(exchange))
    if not readings:
        raise PayloadError("no_prediction", "the answer has none of the usual names of a prediction")
    request_id = header(exchange.request_headers, b"x-request-id")
    if request_id is not None and len(readings) == 1:
        readings[0].setdefault("request_id", request_id.decode("utf-8", "replace"))
    _add_features(readings, exchange)
    return readings


def _instances(document: Any) -> list[Reading]:
    if isinstance(document, list):
        if _one_answer_ranked(document):
            best = max(document, key=lambda item: float(item["score"]))
            return [{"predicted_class": best["label"], "confidence": best["score"]}]
        return [reading for item in document for reading in _instances(item)]
    if not isinstance(document, dict):
        return []
    reading = _fields(document)
    if reading:
        return [reading]
    for name in WRAPPERS:
        inner = document.get(name)
        if isinstance(inner, dict):
            found = _instances(inner)
            if found:
                return found
    for name in BATCHES:
        inner = document.get(name)
        if isinstance(inner, list):
            return [reading for item in inner if (reading := _item(item))]
    return []


def _one_answer_ranked(items: list[Any]) -> bool:
    """Whether a list of {label, score} ranks the classes of one answer, rather than being a batch."""
    if len(items) < 2 or not all(
        isinstance(item, dict)
        and item.keys() == {"label", "score"}
        and isinstance(item["score"], float | int)
        for item in items
    ):
        return False
    labels = {str(item["label"]) for item in items}
    return len(labels) == len(items) and math.fsum(item["score"] for item in items) <= _SUM_TOLERANCE


def _item(item: Any) -> Reading:
    """A reading from one item of a batch: an object, a class, a number, or probabilities."""
    if isinstance(item, dict):
        return _fields(item)
    if isinstance(item, list):
        return _from_probabilities(item)
    if isinstance(item, float):
        return {"value": item}
    return {} if item is None else {"predicted_class": item}


def _fields(document: dict[str, Any]) -> Reading:
    reading: Reading = {}
    answer = _first(document, CLASS_NAMES)
    confidence = _first(document, CONFIDENCE_NAMES)
    if isinstance(answer, list | dict):
        answer = None
    for name in PROBABILITIES_NAMES:
        reading.update(_from_probabilities(document.get(name)))
        if reading:
            break
    if isinstance(confidence, list | dict):
        reading.update(_from_probabilities(confidence))
    elif confidence is not None:
        reading["confidence"] = confidence
    if isinstance(answer, float) and "confidence" not in reading:
        reading["value"] = answer
    elif answer is not None:
        reading["predicted_class"] = answer
    value = _first(document, VALUE_NAMES)
    if isinstance(value, float | int) and not isinstance(value, bool):
        reading["value"] = value
    embedding = _first(document, EMBEDDING_NAMES)
    if isinstance(embedding, list):
        reading["embedding"] = embedding
    if reading:
        request_id = _first(document, REQUEST_ID_NAMES)
        if isinstance(request_id, str | int):
            reading["request_id"] = request_id
    return reading


def _first(document: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        value = document.get(name)
        if value is not None:
            return value
    return None


def _from_probabilities(probabilities: Any) -> Reading:
    """Arg max and max; nothing for what is not a flat collection of numbers."""
    if isinstance(probabilities, list):
        probabilities = dict(enumerate(probabilities))
    if not isinstance(probabilities, dict) or not probabilities:
        return {}
    if not all(isinstance(item, float | int) for item in probabilities.values()):
        return {}
    best = max(probabilities, key=lambda name: probabilities[name])
    return {"predicted_class": best, "confidence": probabilities[best]}


def _add_features(readings: list[Reading], exchange: Exchange) -> None:
    """Features from the request, and, where the answer has no embedding, numeric ones as embedding.

    The body is searched for a usual name first, so that images in base64 are not parsed for nothing.
    """
    body = exchange.request_body
    if not any(mark in body for mark in _REQUEST_MARKS):
        return
    try:
        document = request_json(exchange)
    except PayloadError:
        return
    features = _first(document, REQUEST_FEATURES) if isinstance(document, dict) else None
    if not isinstance(features, list | dict) or not features:
        return
    rows = [features] if len(readings) == 1 and not _nested(features) else features
    if not isinstance(rows, list) or len(rows) != len(readings):
        return
    for reading, row in zip(readings, rows, strict=True):
        if isinstance(row, list | dict):
            reading["features"] = row
            if isinstance(row, list) and row and all(isinstance(item, float | int) for item in row):
                reading.setdefault("embedding", row)


def _nested(features: Any) -> bool:
    return isinstance(features, list) and isinstance(features[0], list | dict)

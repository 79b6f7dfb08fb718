"""Plain JSON answers, as FastAPI, BentoML and LitServe services give them: fields by their usual names."""

from __future__ import annotations

import math
from typing import Any

from exporter.decoders.registry import Reading
from exporter.decoders.rows import limited, numeric

CLASS_NAMES = (
    *("predicted_class", "prediction", "predicted", "label", "class_name", "class", "category"),
    *("predicted_label", "class_id", "class_index"),
)
CONFIDENCE_NAMES = ("probability", "confidence", "score", "prob")
PROBABILITIES_NAMES = ("probabilities", "scores", "confidences", "probs")
EMBEDDING_NAMES = ("embedding", "embeddings", "feature_vector")
VALUE_NAMES = ("value", "predicted_value", "output")
REQUEST_ID_NAMES = ("request_id", "id", "record_id")
CLASS_LIST_NAMES = ("labels", "classes", "class_names")
WRAPPERS = ("result", "output", "data", "response", "prediction")
BATCHES = ("predictions", "results", "outputs", "instances")

_MAX_DEPTH = 8
_SUM_TOLERANCE = 1.001
_MAX_NAMES = 32
_MAX_REMEMBERED = 256

_Chosen = tuple[str | None, ...]
_ROLES = (
    CLASS_NAMES,
    CONFIDENCE_NAMES,
    PROBABILITIES_NAMES,
    EMBEDDING_NAMES,
    VALUE_NAMES,
    REQUEST_ID_NAMES,
    CLASS_LIST_NAMES,
)
_NOTHING: _Chosen = (None,) * len(_ROLES)
_CHOSEN: dict[tuple[str, ...], _Chosen] = {}


def instances(document: Any, depth: int = 0) -> list[Reading]:
    """One reading for each answer in a parsed document; none where nothing has a usual name.

    ``probabilities`` (a list, or a mapping from class to probability) gives the arg max as the class
    and the maximum as the confidence. A list of answers gives one reading for each.
    """
    if isinstance(document, dict):
        reading = fields(document)
        return [reading] if reading else _wrapped(document, depth)
    if not isinstance(document, list) or depth >= _MAX_DEPTH:
        return []
    limited(len(document))
    if _one_answer_ranked(document):
        best = max(document, key=lambda item: float(item["score"]))
        return [{"predicted_class": best["label"], "confidence": best["score"]}]
    found: list[Reading] = []
    for item in document:
        found += instances(item, depth + 1)
        limited(len(found))
    return found


def _wrapped(document: dict[str, Any], depth: int) -> list[Reading]:
    if depth >= _MAX_DEPTH:
        return []
    for name in WRAPPERS:
        inner = document.get(name)
        if isinstance(inner, dict):
            found = instances(inner, depth + 1)
            if found:
                return found
    for name in BATCHES:
        inner = document.get(name)
        if isinstance(inner, list):
            limited(len(inner))
            return [reading for item in inner if (reading := _item(item))]
    return []


def fields(document: dict[str, Any]) -> Reading:
    """The fields of one answer, each by the first of its usual names that is there."""
    if None in document.values():
        document = {name: value for name, value in document.items() if value is not None}
    chosen = _CHOSEN.get(tuple(document)) or _choose(document)
    if chosen is _NOTHING:
        return {}
    as_answer, as_confidence, as_probabilities, as_embedding, as_value, as_request_id, as_class_list = chosen
    classes = document[as_class_list] if as_class_list else None
    reading: Reading = {}
    if as_probabilities:
        reading = from_probabilities(document[as_probabilities], classes)
    if as_confidence:
        confidence = document[as_confidence]
        if isinstance(confidence, (list, dict)):
            reading.update(from_probabilities(confidence, classes))
        else:
            reading["confidence"] = confidence
    if as_answer:
        answer = document[as_answer]
        if isinstance(answer, float) and "confidence" not in reading:
            reading["value"] = answer
        elif not isinstance(answer, (list, dict)):
            reading["predicted_class"] = answer
    if as_value:
        value = document[as_value]
        if isinstance(value, (float, int)) and not isinstance(value, bool):
            reading["value"] = value
    if as_embedding and isinstance(document[as_embedding], list):
        reading["embedding"] = document[as_embedding]
    if as_request_id and reading and isinstance(document[as_request_id], (str, int)):
        reading["request_id"] = document[as_request_id]
    return reading


def _choose(document: dict[str, Any]) -> _Chosen:
    """For each role the first of its usual names that is in a document."""
    chosen = tuple([next((name for name in usual if name in document), None) for usual in _ROLES])
    if not any(chosen):
        chosen = _NOTHING
    # The answers of a service have the same names, unless the names are data.
    if len(document) <= _MAX_NAMES and len(_CHOSEN) < _MAX_REMEMBERED:
        _CHOSEN[tuple(document)] = chosen
    return chosen


def from_probabilities(probabilities: Any, classes: Any = None) -> Reading:
    """Arg max and max of a list, or a mapping from class; nothing for what is not flat and numeric."""
    if isinstance(probabilities, dict):
        if not numeric(list(probabilities.values())):
            return {}
        best = max(probabilities, key=probabilities.__getitem__)
        return {"predicted_class": best, "confidence": probabilities[best]}
    if not numeric(probabilities):
        return {}
    highest = max(probabilities)
    index = probabilities.index(highest)
    named = isinstance(classes, list) and len(classes) == len(probabilities)
    return {"predicted_class": classes[index] if named else index, "confidence": highest}


def _item(item: Any) -> Reading:
    """A reading from one item of a batch: an object, a class, a number, or probabilities."""
    if isinstance(item, dict):
        return fields(item)
    if isinstance(item, list):
        return from_probabilities(item)
    if isinstance(item, float):
        return {"value": item}
    return {} if item is None else {"predicted_class": item}


def _one_answer_ranked(items: list[Any]) -> bool:
    """Whether a list of {label, score} ranks the classes of one answer, rather than being a batch."""
    if len(items) < 2 or not all(
        isinstance(item, dict)
        and item.keys() == {"label", "score"}
        and isinstance(item["score"], (float, int))
        for item in items
    ):
        return False
    labels = {str(item["label"]) for item in items}
    return len(labels) == len(items) and math.fsum(item["score"] for item in items) <= _SUM_TOLERANCE

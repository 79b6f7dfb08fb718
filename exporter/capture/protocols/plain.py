"""Plain JSON answers, as FastAPI, BentoML and LitServe services give them: fields by their usual names."""

from __future__ import annotations

import math
from typing import Any

from exporter.capture.payload import Reading
from exporter.capture.protocols.rows import limited, numeric

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

_ROLES: dict[str, tuple[str, int]] = {
    name: (role, rank)
    for role, names in (
        ("answer", CLASS_NAMES),
        ("confidence", CONFIDENCE_NAMES),
        ("probabilities", PROBABILITIES_NAMES),
        ("embedding", EMBEDDING_NAMES),
        ("value", VALUE_NAMES),
        ("request_id", REQUEST_ID_NAMES),
        ("class_list", CLASS_LIST_NAMES),
    )
    for rank, name in enumerate(names)
}


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
    found: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for name, value in document.items():
        known = _ROLES.get(name)
        if known is not None and value is not None:
            role, rank = known
            if rank < ranks.get(role, 1000):
                found[role] = value
                ranks[role] = rank
    if not found:
        return found
    reading: Reading = {}
    confidence = found.get("confidence")
    if "probabilities" in found:
        reading = from_probabilities(found["probabilities"], found.get("class_list"))
    if isinstance(confidence, list | dict):
        reading.update(from_probabilities(confidence, found.get("class_list")))
    elif confidence is not None:
        reading["confidence"] = confidence
    answer = found.get("answer")
    if answer is not None and not isinstance(answer, list | dict):
        if isinstance(answer, float) and "confidence" not in reading:
            reading["value"] = answer
        else:
            reading["predicted_class"] = answer
    value = found.get("value")
    if isinstance(value, float | int) and not isinstance(value, bool):
        reading["value"] = value
    if isinstance(found.get("embedding"), list):
        reading["embedding"] = found["embedding"]
    if reading and isinstance(found.get("request_id"), str | int):
        reading["request_id"] = found["request_id"]
    return reading


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
        and isinstance(item["score"], float | int)
        for item in items
    ):
        return False
    labels = {str(item["label"]) for item in items}
    return len(labels) == len(items) and math.fsum(item["score"] for item in items) <= _SUM_TOLERANCE

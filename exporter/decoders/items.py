"""One item of a response to the fields of a reading: an object, a vector, a number, or a class.

Every protocol comes down to such items in the end; what they say does not depend on the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exporter.decoders.base import Reading

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

SUM_TOLERANCE = 0.02

_NUMBERS = frozenset((int, float))
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


def item_reading(item: Any) -> Reading:
    """What one item says; empty where it says nothing.

    An object is read by its usual names, else as a model's named outputs, else as a mapping from class
    to probability. Floats are values; whole numbers, text and booleans are classes.
    """
    if isinstance(item, dict):
        return fields(item) or _named_outputs(item) or distribution(item)
    if isinstance(item, list):
        return vector_reading(item)
    if isinstance(item, float):
        return {"value": item}
    return {} if item is None else {"predicted_class": item}


def fields(document: dict[str, Any]) -> Reading:
    """The fields of one object, each by the first of its usual names that is there."""
    if None in document.values():
        document = {name: value for name, value in document.items() if value is not None}
    chosen = _CHOSEN.get(tuple(document)) or _choose(document)
    if chosen is _NOTHING:
        return {}
    as_class, as_confidence, as_probabilities, as_embedding, as_value, as_request_id, as_class_list = chosen
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
    if as_class:
        named = document[as_class]
        if isinstance(named, float) and "confidence" not in reading:
            reading["value"] = named
        elif not isinstance(named, (list, dict)):
            reading["predicted_class"] = named
    if as_value:
        value = document[as_value]
        if isinstance(value, (float, int)) and not isinstance(value, bool):
            reading["value"] = value
    if as_embedding and isinstance(document[as_embedding], list):
        reading["embedding"] = document[as_embedding]
    if as_request_id and reading and isinstance(document[as_request_id], (str, int)):
        reading["request_id"] = document[as_request_id]
    return reading


def vector_reading(row: list[Any]) -> Reading:
    """A reading from one instance's output vector.

    A distribution gives its arg max as class and its maximum as confidence, a single number is a
    value, and any other vector is an embedding: logits and hidden states are good places to look for
    drift.
    """
    if not numeric(row):
        return {}
    if len(row) == 1:
        return {"value": row[0]}
    if is_distribution(row):
        best = max(range(len(row)), key=row.__getitem__)
        return {"predicted_class": best, "confidence": row[best]}
    return {"embedding": row}


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


def class_probabilities(document: dict[str, Any]) -> Reading:
    """The best class of a mapping from class to probability; empty for any other mapping."""
    reading = from_probabilities(document)
    return reading if reading and all(0.0 <= value <= 1.0 for value in document.values()) else {}


def distribution(document: dict[str, Any]) -> Reading:
    """As :func:`class_probabilities`, where the probabilities are of two classes or more and sum to 1."""
    if len(document) < 2:
        return {}
    reading = from_probabilities(document)
    return reading if reading and is_distribution(document.values()) else {}


def numeric(row: Any) -> bool:
    """Whether a value is a non-empty flat list of numbers (booleans are none)."""
    return isinstance(row, list) and bool(row) and _NUMBERS.issuperset(map(type, row))


def is_distribution(probabilities: Iterable[float]) -> bool:
    """Whether numbers lie in 0..1 and sum to 1, as far as half precision can tell."""
    total = 0.0
    for probability in probabilities:
        if not 0.0 <= probability <= 1.0:
            return False
        total += probability
    return abs(total - 1.0) <= SUM_TOLERANCE


def _choose(document: dict[str, Any]) -> _Chosen:
    """For each role the first of its usual names that is in a document."""
    chosen = tuple([next((name for name in usual if name in document), None) for usual in _ROLES])
    if not any(chosen):
        chosen = _NOTHING
    # The responses of a service have the same names, unless the names are data.
    if len(document) <= _MAX_NAMES and len(_CHOSEN) < _MAX_REMEMBERED:
        _CHOSEN[tuple(document)] = chosen
    return chosen


def _named_outputs(outputs: dict[str, Any]) -> Reading:
    """From a model's named outputs: what each of its vectors says, the first one winning."""
    reading: Reading = {}
    for output in outputs.values():
        if isinstance(output, list):
            reading = {**vector_reading(output), **reading}
    return reading

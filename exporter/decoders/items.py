"""Items of a response to readings: an object, a vector, a number, or a class, and what wraps or lists them.

Every protocol comes down to such items in the end; what they say does not depend on the protocol.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from exporter.decoders.base import Reading, limited

REQUEST_ID_NAMES = ("request_id", "id", "record_id")
# The usual names of what an object says, in the order in which fields() takes them.
_ROLES = (
    (
        *("predicted_class", "prediction", "predicted", "label", "class_name", "class", "category"),
        *("predicted_label", "class_id", "class_index"),
    ),
    ("probability", "confidence", "score", "prob"),
    ("probabilities", "scores", "confidences", "probs"),
    ("embedding", "embeddings", "feature_vector"),
    ("value", "predicted_value", "output"),
    REQUEST_ID_NAMES,
    ("labels", "classes", "class_names"),
)
_WRAPPERS = ("result", "output", "data", "response", "prediction")
_BATCHES = ("predictions", "results", "outputs", "instances")
_RANKED = {"label", "score"}

SUM_TOLERANCE = 0.02
_MAX_RANKED_SUM = 1.001
_MAX_DEPTH = 8
_MAX_NAMES = 32
_MAX_REMEMBERED = 256
_NUMBERS = frozenset((int, float))

_Chosen = tuple[str | None, ...]
_NOTHING: _Chosen = (None,) * len(_ROLES)
_CHOSEN: dict[tuple[str, ...], _Chosen] = {}


def instances(document: Any, depth: int = 0) -> list[Reading]:
    """One reading for each instance in a parsed document of plain JSON; none where nothing has a usual name.

    A list gives the readings of all its items, unless it ranks the classes of one instance; an object that
    says nothing itself gives those of what it wraps.
    """
    if depth > _MAX_DEPTH:
        return []
    if isinstance(document, dict):
        reading = fields(document)
        return [reading] if reading else _wrapped(document, depth)
    if not isinstance(document, list):
        return []
    limited(len(document))
    if ranked := _ranked_classes(document):
        return [ranked]
    found: list[Reading] = []
    for item in document:
        found += instances(item, depth + 1)
        limited(len(found))
    return found


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
    if as_value and type(document[as_value]) in _NUMBERS:
        reading["value"] = document[as_value]
    if as_embedding and isinstance(document[as_embedding], list):
        reading["embedding"] = document[as_embedding]
    if as_request_id and reading and isinstance(document[as_request_id], (str, int)):
        reading["request_id"] = document[as_request_id]
    return reading


def vector_reading(row: list[Any]) -> Reading:
    """A class of a distribution, the value of a single number, or an embedding.

    Logits and hidden states are good places to look for drift.
    """
    if not numeric(row):
        return {}
    if len(row) == 1:
        return {"value": row[0]}
    if not is_distribution(row):
        return {"embedding": row}
    highest = max(row)
    return {"predicted_class": row.index(highest), "confidence": highest}


def from_probabilities(probabilities: Any, classes: Any = None) -> Reading:
    """Arg max and max of a list, or a mapping from class; nothing for what is not flat and numeric."""
    if isinstance(probabilities, dict):
        classes, probabilities = list(probabilities), list(probabilities.values())
    if not numeric(probabilities):
        return {}
    highest = max(probabilities)
    index = probabilities.index(highest)
    named = isinstance(classes, list) and len(classes) == len(probabilities)
    return {"predicted_class": classes[index] if named else index, "confidence": highest}


def distribution(document: dict[str, Any]) -> Reading:
    """The best class of a mapping from class to probability, of two or more; empty for any other mapping."""
    reading = from_probabilities(document) if len(document) > 1 else {}
    return reading if reading and is_distribution(document.values()) else {}


def numeric(row: Any) -> bool:
    """Whether a value is a non-empty flat list of numbers (booleans are none)."""
    return isinstance(row, list) and bool(row) and _NUMBERS.issuperset(map(type, row))


def is_distribution(probabilities: Collection[float]) -> bool:
    """Whether numbers lie in 0..1 and sum to 1, as far as half precision can tell."""
    for probability in probabilities:  # mostly the first one says that they do not
        if not 0.0 <= probability <= 1.0:
            return False
    return abs(sum(probabilities) - 1.0) <= SUM_TOLERANCE


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


def _wrapped(document: dict[str, Any], depth: int) -> list[Reading]:
    for name in _WRAPPERS:
        inner = document.get(name)
        if isinstance(inner, dict) and (found := instances(inner, depth + 1)):
            return found
    for name in _BATCHES:
        inner = document.get(name)
        if isinstance(inner, list):
            limited(len(inner))
            return [reading for item in inner if (reading := item_reading(item))]
    return []


def _ranked_classes(items: list[Any]) -> Reading:
    """The best of a list of {label, score} that ranks the classes of one instance; empty for a batch."""
    if len(items) < 2 or not all(isinstance(item, dict) and item.keys() == _RANKED for item in items):
        return {}
    labels, scores = [item["label"] for item in items], [item["score"] for item in items]
    ranks = numeric(scores) and len(set(map(str, labels))) == len(items)
    return from_probabilities(scores, labels) if ranks and math.fsum(scores) <= _MAX_RANKED_SUM else {}

"""The fields of one JSON object, each by the first of its usual names that is there."""

from __future__ import annotations

from typing import Any

from exporter.decoders.base import Reading
from exporter.decoders.names import CLUSTER_NAMES, NOTHING, Roles, is_label, lone_number, roles
from exporter.decoders.vectors import from_probabilities, is_distribution, vector_reading

_NUMBERS = frozenset((int, float))
_NO = frozenset(("no", "false", "negative", "0"))
# Text under these names may have been written by a model, and is a class only where it can be one's name.
_WRITTEN = ("output",)


def fields(document: dict[str, Any]) -> Reading:
    """What an object says of one instance; empty where it says nothing, or of several."""
    if None in document.values():
        document = {name: value for name, value in document.items() if value is not None}
    named = roles(document)
    if named is NOTHING:
        return {}
    as_class, as_confidence, as_probabilities, as_embedding, as_value, as_id, as_classes, paired, lone = named
    reading: Reading = {}
    if as_probabilities:
        classes = document[as_classes] if as_classes else None
        reading = from_probabilities(document[as_probabilities], classes)
    if as_confidence:
        confidence = document[as_confidence]
        if isinstance(confidence, (list, dict)):
            classes = document[as_classes] if as_classes else None
            reading.update(from_probabilities(confidence, classes))
        else:
            reading["confidence"] = confidence
    if as_class:
        said = document[as_class]
        kind = type(said)
        if kind is str and not paired and not lone:
            reading["predicted_class"] = said
        elif kind is list:
            return {}  # one for each of several instances, or a ranking
        elif kind is not dict:
            _add_class(reading, said, as_class, named)
    elif as_classes and "confidence" in reading and type(document[as_classes]) in (int, str):
        reading["predicted_class"] = document[as_classes]
    if as_confidence == "score" and "confidence" in reading and "predicted_class" not in reading:
        reading["value"] = reading.pop("confidence")  # of what, it does not say
    if as_value and "value" not in reading:
        _add_value(reading, document[as_value], as_value)
    if as_embedding and (vector := flat_embedding(document[as_embedding])):
        reading["embedding"] = vector
    if as_id and reading and isinstance(document[as_id], (str, int)):
        reading["request_id"] = document[as_id]
    return reading


def flat_embedding(value: Any) -> list[Any] | None:
    """One vector: a list, alone in a list, or under the name that Google or Cohere have for its numbers."""
    if type(value) is dict:
        value = value.get("values") or value.get("float")
    if type(value) is not list or not value:
        return None
    first = value[0]
    if type(first) is list:
        return first if len(value) == 1 and first and type(first[0]) is not list else None
    return None if type(first) is dict else value


def named_outputs(outputs: dict[str, Any]) -> Reading:
    """From a model's named outputs: what each of its vectors says, the first one winning."""
    reading: Reading = {}
    for output in outputs.values():
        if isinstance(output, list):
            reading = {**vector_reading(output), **reading}
    return reading


def distribution(document: dict[str, Any]) -> Reading:
    """The best class of a mapping from class to probability, of two or more; empty for any other mapping."""
    reading = from_probabilities(document) if len(document) > 1 else {}
    return reading if reading and is_distribution(document.values()) else {}


def named_number(document: dict[str, Any]) -> Reading:
    """The value of an object whose only number says nothing else: ``{"price": 12.5}``."""
    number = lone_number(document)
    return {} if number is None else {"value": number}


def _add_class(reading: Reading, said: Any, as_class: str, named: Roles) -> None:
    """Add what is no plain text under a usual name: a number, a truth value, a class of an unusual name."""
    kind = type(said)
    if kind is float and not (said.is_integer() and ("confidence" in reading or as_class in CLUSTER_NAMES)):
        reading["value"] = said
        return
    if named.lone and not (kind is bool or (kind is str and is_label(said))):
        return
    reading["predicted_class"] = said
    if type(reading.get("confidence")) not in _NUMBERS:
        return
    # Beside a truth value stands, or is named after a class, how probable the one of two classes is.
    probability = reading["confidence"]
    if said is False:
        if named.paired or probability <= 0.5:
            reading["confidence"] = 1.0 - probability
    elif named.paired and (said == 0 or (kind is str and said.lower() in _NO)):
        if probability <= 0.5:
            reading["confidence"] = 1.0 - probability
        else:  # of the class itself, or under a threshold of their own: it cannot be told
            del reading["confidence"]


def _add_value(reading: Reading, said: Any, as_value: str) -> None:
    if type(said) in _NUMBERS:
        reading["value"] = said
    elif as_value in _WRITTEN and type(said) is str and "predicted_class" not in reading and is_label(said):
        reading["predicted_class"] = said

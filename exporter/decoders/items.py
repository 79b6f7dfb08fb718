"""Items of a response to readings: an object, a vector, a number, or a class, and what wraps or lists them.

Every protocol comes down to such items in the end; what they say does not depend on the protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from exporter.decoders.base import Reading, limited
from exporter.decoders.names import NOTHING, Roles, is_label, roles
from exporter.decoders.objects import distribution, fields, named_number, named_outputs
from exporter.decoders.vectors import (
    ALONE,
    Context,
    list_readings,
    matrix_readings,
    numeric,
    vector_reading,
)

_WRAPPERS = (
    *("result", "output", "data", "response", "prediction", "predictions", "intent", "Results", "results"),
    "WebServiceOutput0",
)
# Lists with an item for each instance, whatever the items are.
_BATCHES = ("predictions", "results", "outputs", "instances", "Results", "WebServiceOutput0")
# The same, if the items are objects.
_OBJECT_BATCHES = ("classifications", "projections", "scores")
# Lists that are read like one without a name.
_LISTS = ("result", "output", "data", "prediction", "y_pred")
# What ranks the classes of one instance, whatever it sums to.
_RANKINGS = ("top", "top_k", "topk", "top_5", "top5", "ranking")
# What may stand in an item of a ranking beside class and confidence; anything else makes it an instance.
_OF_RANKED = frozenset(("index", "rank", "id", "class_id", "class_index", "label_id"))

_MAX_RANKED_SUM = 1.001
_MAX_DEPTH = 8


def instances(document: Any, context: Context = ALONE, depth: int = 0) -> list[Reading]:
    """One reading for each instance in a parsed document of plain JSON; none where nothing has a usual name.

    A list gives the readings of all its items, unless it ranks the classes of one instance; an object that
    says nothing itself gives those of what it wraps, or of its columns.
    """
    if depth > _MAX_DEPTH:
        return []
    if isinstance(document, dict):
        reading = fields(document)
        return [reading] if reading else _columns(document, context) or _wrapped(document, context, depth)
    return batch(document, context, depth) if isinstance(document, list) else []


def batch(items: list[Any], context: Context = ALONE, depth: int = 0) -> list[Reading]:
    """The readings of a list that stands for a whole response, or for what it says of all instances."""
    limited(len(items))
    kinds = set(map(type, items))
    if kinds == {dict}:
        if ranked := _ranked(items, context):
            return [ranked]
        found: list[Reading] = []
        for item in items:
            found += instances(item, context, depth + 1) or _some(_item(item))
            limited(len(found))
        return found
    if kinds == {list}:
        if all(map(numeric, items)):
            return matrix_readings(items, context.numbers)
        return [reading for item in items if (reading := _best(item))]
    if kinds <= {int, float}:
        return list_readings(items, context) if items else []
    if kinds == {str}:
        one_each = len(items) == 1 or context.asked() in (None, len(items))
        return [{"predicted_class": text} for text in items] if one_each and all(map(is_label, items)) else []
    return [{"predicted_class": item} for item in items] if kinds == {bool} else []


def item_reading(item: Any, context: Context = ALONE) -> Reading:
    """What one item of a list of predictions says; empty where it says nothing.

    An object is read by its usual names, else as a model's named outputs, else as a mapping from class
    to probability, else as a single named number. Floats are values; whole numbers, text and booleans are
    classes.
    """
    if isinstance(item, dict):
        return fields(item) or _item(item)
    if isinstance(item, list):
        return vector_reading(item, context.numbers) or _best(item)
    if isinstance(item, float):
        return {"predicted_class" if context.numbers == "classes" else "value": item}
    if type(item) is int and context.numbers == "values":
        return {"value": item}
    return {} if item is None else {"predicted_class": item}


def item_readings(items: list[Any], context: Context = ALONE) -> list[Reading]:
    """One reading for each item of a list of predictions, empty where it says nothing."""
    limited(len(items))
    if len(items) > 1:
        kind = type(items[0])
        if kind is dict and (ranked := _ranked(items, context)):
            return [ranked]
        if kind is list and all(map(numeric, items)):
            return matrix_readings(items, context.numbers)
    return [item_reading(item, context) for item in items]


def _item(item: dict[str, Any]) -> Reading:
    """What an object that has no field by a usual name says as one of several."""
    named = roles(item)
    if named.predicted_class is not None and isinstance(item[named.predicted_class], list):
        return _best(_zipped(item, named)) or _ranking(item)
    return _ranking(item) or named_outputs(item) or distribution(item) or named_number(item)


def _some(reading: Reading) -> list[Reading]:
    return [reading] if reading else []


def _zipped(document: dict[str, Any], named: Roles) -> list[dict[str, Any]]:
    """Classes and their confidences, from two lists of one length; empty where they are no such."""
    as_class, as_confidence = named.predicted_class, named.confidence or named.probabilities
    if as_class is None or as_confidence is None or named.paired:
        return []
    classes, confidences = document[as_class], document[as_confidence]
    if not isinstance(classes, list) or not numeric(confidences) or len(classes) != len(confidences):
        return []
    return [{"label": label, "score": score} for label, score in zip(classes, confidences, strict=True)]


def _columns(document: dict[str, Any], context: Context) -> list[Reading]:
    """The instances of an object whose members are lists with an item for each; none where it has no such.

    Classes beside as many confidences may also be a ranking, as a list of such pairs may.
    """
    named = roles(document)
    if ranked := _ranked(_zipped(document, named), context):
        return [ranked]
    count = 0 if named is NOTHING else _rows(document, named)
    if not count:
        return []
    limited(count)
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    lead = (named.predicted_class, named.confidence, named.probabilities, named.embedding, named.value)
    for name in filter(None, lead):
        column = document[name]
        if name == named.embedding and isinstance(column, dict):
            column = column.get("float")
        if isinstance(column, list) and len(column) == count:
            for row, item in zip(rows, column, strict=True):
                row[name] = item
        elif count == 1 and column is not None:
            rows[0][name] = column
    if named.class_list:
        for row in rows:
            row[named.class_list] = document[named.class_list]
    return [reading for row in rows if (reading := fields(row))]


def _rows(document: dict[str, Any], named: Roles) -> int:
    """How many instances the columns of an object hold: 0 where they are none."""
    if named.predicted_class is not None:
        classes = document[named.predicted_class]
        plain = isinstance(classes, list) and set(map(type, classes)) <= {str, int, bool}
        return len(classes) if plain else 0
    for name in (named.probabilities, named.confidence):
        rows = None if name is None else document[name]
        if isinstance(rows, list) and rows and all(numeric(row) and len(row) > 1 for row in rows):
            return len(rows)
    rows = None if named.embedding is None else document[named.embedding]
    if isinstance(rows, dict):
        rows = rows.get("float")
    return len(rows) if isinstance(rows, list) and all(isinstance(row, list | dict) for row in rows) else 0


def _wrapped(document: dict[str, Any], context: Context, depth: int) -> list[Reading]:
    for name in _WRAPPERS:
        inner = document.get(name)
        if isinstance(inner, dict) and (found := instances(inner, context, depth + 1)):
            return found
    if ranked := _ranking(document):
        return [ranked]
    for name in _BATCHES:
        inner = document.get(name)
        if isinstance(inner, list):
            return [reading for reading in item_readings(inner, context) if reading]
    for name in _OBJECT_BATCHES:
        inner = document.get(name)
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return [reading for reading in item_readings(inner, context) if reading]
    for name in _LISTS:
        inner = document.get(name)
        if isinstance(inner, list):
            return batch(inner, context, depth + 1)
    said = document.get("result")
    if isinstance(said, float):
        return [{"value": said}]
    named = is_label(said) if isinstance(said, str) else isinstance(said, int)
    return [{"predicted_class": said}] if named else []


def _ranking(document: dict[str, Any]) -> Reading:
    """The best of what stands in an object as its ranking."""
    for name in _RANKINGS:
        items = document.get(name)
        if isinstance(items, list) and (best := _best(items)):
            return best
    return {}


def _best(items: list[Any]) -> Reading:
    """The best of a list of (class, confidence) objects, or pairs, which rank the classes of one instance."""
    pairs = _pairs(items)
    if not pairs:
        return {}
    label, confidence = max(pairs, key=lambda pair: pair[1])
    return {"predicted_class": label, "confidence": confidence}


def _pairs(items: Sequence[Any]) -> list[tuple[Any, float]]:
    """Class and confidence of each item; empty if one has anything else to say, or a class comes twice."""
    pairs: list[tuple[Any, float]] = []
    for item in items:
        if not isinstance(item, dict):
            return []
        named = roles(item)
        as_class, as_confidence = named.predicted_class, named.confidence
        if as_class is None or as_confidence is None or named.paired:
            return []
        label, confidence = item.get(as_class), item.get(as_confidence)
        if (
            isinstance(label, (list, dict))
            or isinstance(confidence, bool)
            or not isinstance(confidence, int | float)
        ):
            return []
        if len(item) > 2 and not item.keys() - {as_class, as_confidence} <= _OF_RANKED:
            return []
        pairs.append((label, confidence))
    return pairs if len({str(label) for label, _ in pairs}) == len(pairs) else []


def _ranked(items: list[Any], context: Context) -> Reading:
    """The best of a list that ranks the classes of one instance; empty for a list of instances.

    Of one instance, if the request asks about one; of as many, if it asks about as many as there are. Where
    that cannot be told, the confidences of one instance sum to 1 at most.
    """
    if len(items) < 2 or not (pairs := _pairs(items)):
        return {}
    asked = context.asked()
    total = math.fsum(confidence for _, confidence in pairs)
    if asked != 1 and (asked == len(items) or total > _MAX_RANKED_SUM):
        return {}
    label, confidence = max(pairs, key=lambda pair: pair[1])
    return {"predicted_class": label, "confidence": confidence}

"""Plain JSON responses, as FastAPI, BentoML and LitServe services give them: fields by their usual names."""

from __future__ import annotations

import math
from typing import Any

from exporter.decoders.base import Reading, limited
from exporter.decoders.items import fields, item_reading

WRAPPERS = ("result", "output", "data", "response", "prediction")
BATCHES = ("predictions", "results", "outputs", "instances")

_MAX_DEPTH = 8
_SUM_TOLERANCE = 1.001


def instances(document: Any, depth: int = 0) -> list[Reading]:
    """One reading for each instance in a parsed document; none where nothing has a usual name.

    ``probabilities`` (a list, or a mapping from class to probability) gives the arg max as the class
    and the maximum as the confidence. A list of objects gives one reading for each.
    """
    if isinstance(document, dict):
        reading = fields(document)
        return [reading] if reading else _wrapped(document, depth)
    if not isinstance(document, list) or depth >= _MAX_DEPTH:
        return []
    limited(len(document))
    if _ranks_classes(document):
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
            return [reading for item in inner if (reading := item_reading(item))]
    return []


def _ranks_classes(items: list[Any]) -> bool:
    """Whether a list of {label, score} ranks the classes of one instance, rather than being a batch."""
    if len(items) < 2 or not all(
        isinstance(item, dict)
        and item.keys() == {"label", "score"}
        and isinstance(item["score"], (float, int))
        for item in items
    ):
        return False
    labels = {str(item["label"]) for item in items}
    return len(labels) == len(items) and math.fsum(item["score"] for item in items) <= _SUM_TOLERANCE

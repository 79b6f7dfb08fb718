"""Lists of numbers: whether they are probabilities, classes, values or an embedding."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from exporter.config.capture import Numbers
from exporter.decoders.base import Reading

SUM_TOLERANCE = 0.02
# Fewer numbers for one instance may as well be several things that were measured.
_MIN_EMBEDDING = 8
_NUMBERS = frozenset((int, float))


def _unknown() -> int | None:
    return None


class Context(NamedTuple):
    """What decides where a document alone does not."""

    numbers: Numbers = "auto"
    """What a list of numbers without a name is, as ``capture.numbers`` says."""
    asked: Callable[[], int | None] = _unknown
    """How many instances the request asks about, if it can be told; parsed when it is needed only."""


ALONE = Context()


def numeric(row: Any) -> bool:
    """Whether a value is a non-empty flat list of numbers (booleans are none)."""
    return isinstance(row, list) and bool(row) and _NUMBERS.issuperset(map(type, row))


def is_distribution(probabilities: Collection[float]) -> bool:
    """Whether numbers lie in 0..1 and sum to 1, as far as half precision can tell."""
    for probability in probabilities:  # mostly the first one says that they do not
        if not 0.0 <= probability <= 1.0:
            return False
    return abs(sum(probabilities) - 1.0) <= SUM_TOLERANCE


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


def vector_reading(row: list[Any], numbers: Numbers = "auto") -> Reading:
    """One instance's numbers: a class of a distribution, the value of a single one, or an embedding.

    Logits and hidden states are good places to look for drift.
    """
    if not numeric(row):
        return {}
    if numbers == "auto":
        if len(row) == 1:
            return {"value": row[0]}
        if not is_distribution(row):
            return {"embedding": row}
    elif numbers == "embedding":
        return {"embedding": row}
    elif numbers != "probabilities":
        return {_FIELD_OF[numbers]: row[0]} if len(row) == 1 else {}
    highest = max(row)
    return {"predicted_class": row.index(highest), "confidence": highest}


def matrix_readings(rows: list[Any], numbers: Numbers = "auto") -> list[Reading]:
    """One reading for each row of numbers: probabilities only where all of them are."""
    if numbers != "auto" or all(len(row) == 1 or is_distribution(row) for row in rows):
        return [vector_reading(row, numbers) for row in rows]
    return [{"embedding": row} for row in rows]


def list_readings(row: list[Any], context: Context) -> list[Reading]:
    """The readings of a flat list of numbers that stands for a whole response.

    One of them is a class if it is whole, else a value. Several are one for each instance, or all of one: as
    ``capture.numbers`` says, or else as many instances as the request asks about.
    """
    numbers = context.numbers
    if numbers in _FIELD_OF:
        return [{_FIELD_OF[numbers]: number} for number in row]
    if numbers != "auto":
        reading = vector_reading(row, numbers)
        return [reading] if reading else []
    whole = all(type(number) is int for number in row)
    field = "predicted_class" if whole else "value"
    if len(row) == 1:
        return [{field: row[0]}]
    asked = context.asked()
    if asked == len(row) or (asked is None and whole):
        return [{field: number} for number in row]
    if whole:
        return []
    if asked in (None, 1) and is_distribution(row):
        return [vector_reading(row)]
    return [{"embedding": row}] if asked == 1 and len(row) >= _MIN_EMBEDDING else []


_FIELD_OF: dict[str, str] = {"classes": "predicted_class", "values": "value"}

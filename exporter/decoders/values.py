"""What a raw value is worth: a valid field of an observation, or a counted refusal."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.decoders.base import Reading

MAX_CLASS_CHARACTERS = 128
MAX_REQUEST_ID_CHARACTERS = 256
_MAX_PACKED = 65_536

Refuse = Callable[[str, str], None]


def clean(reading: Reading, refuse: Refuse) -> Reading:
    """The valid fields of a reading; ``refuse(field, reason)`` is called for each of the others.

    Guarantees: ``predicted_class`` and ``request_id`` are short, valid UTF-8 text; ``confidence`` is
    a float in 0..1 and ``value`` a finite float; ``embedding`` is a one-dimensional numeric array.
    Whether an embedding is finite and long enough is for the detector to say.
    """
    fields: Reading = {}
    for name, value in reading.items():
        if value is None:
            continue
        if name == "predicted_class":
            plain = type(value) is str and len(value) <= MAX_CLASS_CHARACTERS and value.isascii()
            text = value if plain else class_name(value)
            if text is None:
                refuse(name, "wrong_type")
            else:
                fields[name] = text
        elif name in ("confidence", "value"):
            number = value if type(value) is float else _number(value)
            if number is None:
                refuse(name, "wrong_type")
            elif 0.0 <= number <= 1.0 or (name == "value" and math.isfinite(number)):
                fields[name] = number
            else:
                refuse(name, "out_of_range" if math.isfinite(number) else "not_finite")
        elif name == "embedding":
            vector = as_vector(value)
            if vector is None:
                numeric = hasattr(value, "dtype") and _array(value) is not None
                refuse(name, "wrong_shape" if numeric else "wrong_type")
            else:
                fields[name] = vector
        elif name == "request_id":
            fields[name] = _text(str(value), MAX_REQUEST_ID_CHARACTERS)
        elif name == "features":
            fields[name] = value
    return fields


def class_name(value: Any) -> str | None:
    """A class as label text; None for what cannot name a class.

    Predictions and labels that arrive later are named by it alike: 1, 1.0 and "1" are one class.
    """
    if isinstance(value, str):
        return _text(value, MAX_CLASS_CHARACTERS)
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return None
        if float(value).is_integer():
            value = int(value)
    elif not isinstance(value, (int, np.integer)):
        return None
    try:
        return str(value)[:MAX_CLASS_CHARACTERS]
    except ValueError:  # an integer of thousands of digits
        return None


def as_vector(value: Any) -> NDArray[Any] | None:
    """A numeric array (d,) in main memory, d at least 1; None where a value is no such."""
    if type(value) is list and 0 < (n := len(value)) <= _MAX_PACKED:
        # Three times as fast as numpy, for a list of plain numbers. What is none of that is left to numpy.
        vector = np.empty(n, np.float32)
        try:
            _packer(n)(vector, 0, *value)
        except struct.error:
            pass
        else:
            return vector
    array = _array(value)
    if array is not None and array.ndim == 2 and len(array) == 1:
        array = array[0]
    return array if array is not None and array.ndim == 1 and array.size > 0 else None


def _array(value: Any) -> NDArray[Any] | None:
    """An array of real numbers in main memory; None for what is none."""
    try:
        with np.errstate(over="ignore"):  # infinite then, which the detector refuses
            array = on_host(value) if hasattr(value, "dtype") else np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return array if array.dtype.kind in "fiub" else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: str, limit: int) -> str:
    """Text that any scrape can carry: a lone surrogate would make all of it fail."""
    if len(value) <= limit and value.isascii():
        return value
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=64)
def _packer(n: int) -> Callable[..., None]:
    """Writes n numbers into an array of n float32."""
    return struct.Struct(f"{n}f").pack_into

"""What a service itself says of a prediction, as plain values, at once and in its own thread.

What ``observe()``, ``record()`` and a watched module are given may be of any type, of a module that no other
process can import, and may change in the next moment. Numbers, text and the float32 bytes of embeddings are
kept of it; what is refused is named, and absent from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_torch_array
from numpy.typing import NDArray

from exporter.arrays import detached, on_host
from exporter.decoders.values import MAX_CLASS_CHARACTERS, Refuse, clean

FIELDS = ("predicted_class", "confidence", "value", "embedding", "features", "request_id")

_PLAIN = (str, int, float, bool, type(None))
_MAX_DEPTH = 8


def plain_fields(given: Mapping[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The fields that were given, as plain values; one that was refused is None, and wins all the same.

    ``refuse(field, reason)`` is called for each of those. An embedding is the bytes of float32 numbers.
    """
    fields: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        # What most services give needs no second look.
        if name == "embedding":
            if type(value) is np.ndarray and value.dtype == np.float32 and value.ndim == 1 and value.size:
                fields[name] = value.tobytes()
                continue
        elif name == "predicted_class":
            if type(value) is str and len(value) <= MAX_CLASS_CHARACTERS and value.isascii():
                fields[name] = value
                continue
        elif name == "confidence" and type(value) is float and 0.0 <= value <= 1.0:
            fields[name] = value
            continue
        rest[name] = value
    if rest:
        fields.update(_cleaned(rest, refuse))
    return fields


def float32(values: Any) -> NDArray[np.float32] | None:
    """An array of real numbers, wherever it lives, as float32 in main memory; None for what is none."""
    try:
        array = values if type(values) is np.ndarray else on_host(values)
        if array.dtype.kind not in "fiub":
            return None
        if array.dtype == np.float32:
            return array
        with np.errstate(over="ignore"):  # infinite then, which the detector refuses
            return array.astype(np.float32)
    except Exception:  # torch has kinds of tensors that numpy has not
        return None


def plain_block(rows: Any) -> tuple[bytes, tuple[int, ...]] | str:
    """(n, d) rows as the bytes of float32 numbers and their shape; else the reason why they are refused."""
    array = float32(rows)
    if array is None:
        return "wrong_type"
    return (array.tobytes(), array.shape) if array.ndim == 2 else "wrong_shape"


def on_device(value: Any) -> bool:
    """Whether it is a tensor in the memory of a device, which would have to be waited for."""
    return is_torch_array(value) and value.device.type != "cpu"


def kept_on_device(tensor: Any) -> Any:
    """A copy of such a tensor, to be fetched when nobody waits for it any more."""
    return detached(tensor).clone()


def _cleaned(given: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    refused: list[tuple[str, str]] = []
    try:
        found = clean(given, lambda *why: refused.append(why))
    except Exception:  # out of a foreign class; the other fields are good all the same
        refused.clear()
        found = {}
        for name, value in given.items():
            try:
                found |= clean({name: value}, lambda *why: refused.append(why))
            except Exception:
                refused.append((name, "wrong_type"))
    row = found.get("embedding")
    if row is not None:
        array = float32(row)
        found["embedding"] = None if array is None else array.tobytes()
        if array is None:
            refused.append(("embedding", "wrong_type"))
    if "features" in found:
        found["features"] = _plain(found["features"], _MAX_DEPTH)
    for name in ("predicted_class", "request_id"):
        text = found.get(name)
        if text is not None and type(text) is not str:
            found[name] = text[:]  # of a class of its own, such as an enumeration's member
    for field, reason in refused:
        refuse(field, reason)
    return {name: found.get(name) for name in given}


def _plain(value: Any, depth: int) -> Any:
    """Numbers and text in lists and mappings; None for anything else, and what is too deep."""
    if type(value) in _PLAIN:
        return value
    if depth == 0 or isinstance(value, str | bytes | bytearray):
        return None
    if hasattr(value, "ndim"):
        array = on_host(value)
        return array.tolist() if array.dtype.kind in "fiub" else None
    if isinstance(value, Mapping):
        return {str(name)[:]: _plain(item, depth - 1) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item, depth - 1) for item in value]
    return None

"""A captured item as one block of bytes, from the moment when it is queued until it is read.

The dozens of small objects of a record, kept for a while, would spread all that comes after them over more
memory than the processor's caches hold, and keep the garbage collector busy: that costs the event loop more
than all else that is done here. Bytes also have a size, and another process can take them as they are.

What a service hands to ``observe()`` may be of any type, of a module that no other process can import. It is
cleaned here, once: numbers, text and the float32 bytes of embeddings are queued, and what is refused is
counted, and absent from then on.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.decoders.values import Refuse, clean
from exporter.http.exchange import Exchange
from exporter.observation import Observation, Source, observation_of

Item = Exchange | Observation

# Later versions look for objects that occur more than once, which takes longer than it saves.
_MARSHAL_VERSION = 2
_PLAIN = (str, int, float, bool, type(None))
_MAX_DEPTH = 8
_FIELDS = ("predicted_class", "confidence", "value", "embedding", "features", "request_id")


def pack(item: Item, source: Source, refuse: Refuse) -> bytes:
    """An item as bytes; :func:`unpack` undoes it.

    ``refuse(field, reason)`` is called for each value that the service itself named and that is not valid.

    Raises
    ------
    TypeError
        If it is no item.
    ValueError
        If an exchange has headers that are no bytes.
    """
    seen: Any = None
    said: Any = None
    if isinstance(item, Exchange):
        seen = item.plain()
        if item.notes is not None or item.embeddings is not None:
            said = (
                _cleaned(item.notes, refuse) if item.notes else None,
                _blocks(item.embeddings, refuse) if item.embeddings is not None else None,
                item.rows_left_out,
            )
    elif isinstance(item, Observation):
        latency = item.latency_seconds
        given = {name: getattr(item, name) for name in _FIELDS}
        said = (
            item.model,
            float(item.timestamp),
            None if latency is None else float(latency),
            _cleaned(given, refuse),
        )
    else:
        raise TypeError(f"{type(item).__name__} is neither an exchange nor an observation")
    packed: Any = (source, seen, said)
    return marshal.dumps(packed, _MARSHAL_VERSION)


def unpack(data: bytes) -> tuple[Source, Item]:
    """The item that was given to :func:`pack`, cleaned, and where it came from."""
    source, seen, said = marshal.loads(data)  # noqa: S302 - what pack() wrote, here or in our other process
    if seen is None:
        model, timestamp, latency, given = said
        return source, observation_of(model, source, timestamp, latency, _with_array(given))
    exchange = Exchange.from_plain(seen)
    if said is not None:
        notes, blocks, exchange.rows_left_out = said
        exchange.notes = None if notes is None else _with_array(notes)
        if blocks is not None:
            exchange.embeddings = [np.frombuffer(block, np.float32).reshape(shape) for block, shape in blocks]
    return source, exchange


def _with_array(given: dict[str, Any]) -> dict[str, Any]:
    row = given.get("embedding")
    if row is not None:
        given["embedding"] = np.frombuffer(row, np.float32)
    return given


def _cleaned(given: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The fields that were named, as plain values; None for what was refused, and wins all the same."""
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
        array = _float32(row)
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
    return {name: found.get(name) for name, value in given.items() if value is not None}


def _blocks(blocks: Sequence[Any], refuse: Refuse) -> list[tuple[bytes, tuple[int, ...]]]:
    packed = []
    for block in blocks:
        array = _float32(block)
        if array is None or array.ndim != 2:
            refuse("embedding", "wrong_type" if array is None else "wrong_shape")
        else:
            packed.append((array.tobytes(), array.shape))
    return packed


def _float32(values: Any) -> NDArray[np.float32] | None:
    """An array of real numbers, wherever it lives, in main memory; None for what is none."""
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

"""A captured item as one block of bytes, from the moment when it is queued until it is read.

The dozens of small objects of a record, kept for a while, would spread all that comes after them over more
memory than the processor's caches hold, and keep the garbage collector busy: that costs the event loop more
than all else that is done here. Bytes also have a size, and another process can take them as they are.

What a service itself says is plain by then (:mod:`exporter.receivers.plain`), but for tensors on a device:
they are fetched here, when the response is through and nobody waits for them.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporter.decoders.values import Refuse
from exporter.http.exchange import Exchange
from exporter.observation import Observation, Source, observation_of
from exporter.receivers.plain import FIELDS, plain_block, plain_fields
from exporter.receivers.rows import Rows

Item = Exchange | Observation | Rows

# Later versions look for objects that occur more than once, which takes longer than it saves.
_MARSHAL_VERSION = 2
# In place of what was seen.
_ROWS = True


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
            for why in item.refused or ():
                refuse(*why)
            said = (
                _settled(item.notes, refuse) if item.notes else None,
                _blocks(item.embeddings, refuse) if item.embeddings is not None else None,
                item.rows_left_out,
            )
    elif isinstance(item, Observation):
        latency = item.latency_seconds
        given = {name: value for name in FIELDS if (value := getattr(item, name)) is not None}
        said = (
            item.model,
            float(item.timestamp),
            None if latency is None else float(latency),
            _settled(given, refuse),
        )
    elif isinstance(item, Rows):
        seen, said = _ROWS, item.plain()
    else:
        raise TypeError(f"{type(item).__name__} is neither an exchange nor an observation")
    packed: Any = (source, seen, said)
    return marshal.dumps(packed, _MARSHAL_VERSION)


def unpack(data: bytes) -> tuple[Source, Item]:
    """The item that was given to :func:`pack`, cleaned, and where it came from."""
    source, seen, said = marshal.loads(data)  # noqa: S302 - what pack() wrote, here or in our other process
    if seen is _ROWS:
        return source, Rows.from_plain(said)
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


def _settled(notes: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The fields that were named, as plain values; an embedding that is bytes has been that before."""
    row = notes.get("embedding")
    if type(row) is not bytes:
        return dict.fromkeys(notes) | plain_fields(notes, refuse)
    if len(notes) == 1:
        return notes
    rest = {name: value for name, value in notes.items() if name != "embedding"}
    return dict.fromkeys(rest) | plain_fields(rest, refuse) | {"embedding": row}


def _blocks(blocks: Sequence[Any], refuse: Refuse) -> list[tuple[bytes, tuple[int, ...]]]:
    packed = []
    for rows in blocks:
        block = plain_block(rows)
        if isinstance(block, str):
            refuse("embedding", block)
        else:
            packed.append(block)
    return packed

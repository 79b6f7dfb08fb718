"""Captured items in a form that another process can take: bytes, numbers, text and numpy arrays.

What a service hands to ``observe()`` may be of any type, of a module that the helper cannot import. Such
values are cleaned here; what is refused is counted here, and is known to the helper as absent.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from exporter.decoders.values import Refuse, clean
from exporter.http.exchange import AnnotatedExchange, Exchange
from exporter.observation import Observation, Source
from exporter.pipeline.batches import Captured, Item
from exporter.pipeline.queue import Batch, Stretch

log = logging.getLogger(__name__)

_PLAIN = (str, int, float, bool, type(None))


Lengths = list[int]

Part = tuple[Source, Lengths] | bytes
"""Items of one source that follow as so many bytes each, or one item in a form of its own."""


def portable(batch: Batch[Source], refuse: Refuse) -> tuple[list[Part], list[memoryview]]:
    """A batch as parts, and the bytes that follow them; :func:`restored` puts it together again.

    Nearly always the whole of it is bytes already. An item that cannot be sent at all is left out and
    logged. ``refuse(field, reason)`` counts values of ``observe()`` that are invalid.
    """
    parts: list[Part] = []
    views = []
    for entry in batch.entries:
        if isinstance(entry, Stretch):
            parts.append((entry.tag, entry.lengths.tolist()))
            views.append(entry.view)
            continue
        source, item = entry
        try:
            parts.append(pickle.dumps((source, _plainer(item, refuse)), pickle.HIGHEST_PROTOCOL))
        except Exception:
            log.exception("an item could not be handed to the helper process")
    return parts, views


def restored(parts: list[Part], read: Callable[[int], memoryview | None]) -> list[Captured]:
    """The batch that :func:`portable` was given; ``read`` gives the next so many bytes that follow."""
    batch: list[Captured] = []
    for part in parts:
        if isinstance(part, bytes):
            batch.append(pickle.loads(part))  # noqa: S301 - from our own process
            continue
        source, lengths = part
        data = read(sum(lengths))
        if data is None:
            raise EOFError("the batch broke off")
        start = 0
        for length in lengths:
            batch.append((source, bytes(data[start : start + length])))
            start += length
    return batch


def _plainer(item: Item, refuse: Refuse) -> Item:
    if isinstance(item, AnnotatedExchange):
        return AnnotatedExchange(item.data, _notes(item.notes, refuse), _rows(item.embeddings))
    if isinstance(item, Exchange):
        item.notes, item.embeddings = _notes(item.notes, refuse), _rows(item.embeddings)
    elif isinstance(item, Observation):
        return dataclasses.replace(item, embedding=on_host(item.embedding), features=_features(item.features))
    return item


def on_host(values: Any) -> Any:
    """A torch tensor, wherever it lives, as a numpy array; anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    # numpy has no bfloat16.
    return (values.float() if values.is_floating_point() else values).numpy()


def _rows(embeddings: list[Any] | None) -> list[Any] | None:
    return None if embeddings is None else [on_host(row) for row in embeddings]


def _notes(notes: dict[str, Any] | None, refuse: Refuse) -> dict[str, Any] | None:
    if notes is None:
        return None
    found = clean(notes, refuse)
    if "embedding" in found:
        found["embedding"] = on_host(found["embedding"])
    if "features" in found:
        found["features"] = _features(found["features"])
    # A value that was refused still wins over what the bodies say.
    return {name: found.get(name) for name in notes}


def _features(features: Any) -> Any:
    """Numbers and text in lists and mappings; None for what is of another kind."""
    if isinstance(features, _PLAIN):
        return features if type(features) in _PLAIN else None
    if hasattr(features, "ndim"):
        array = np.asarray(on_host(features))
        return array if array.dtype.kind in "fiub" else None
    if isinstance(features, Mapping):
        return {str(name): _features(value) for name, value in features.items()}
    if isinstance(features, Sequence) and not isinstance(features, str | bytes | bytearray):
        return [_features(value) for value in features]
    return None

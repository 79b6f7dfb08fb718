"""Captured items in a form that another process can take: bytes, numbers, text and numpy arrays.

What a service hands to ``observe()`` may be of any type, of a module that the helper cannot import. Such
values are cleaned here; what is refused is counted here, and is known to the helper as absent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporter.capture.exchange import AnnotatedExchange, Exchange
from exporter.capture.values import Refuse, clean
from exporter.pipeline import Item

_PLAIN = (str, int, float, bool, type(None))


def portable(item: Item, refuse: Refuse) -> Any:
    """What :func:`restored` makes the item of again; ``refuse(field, reason)`` counts invalid values."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, AnnotatedExchange):
        return item.data, _notes(item.notes, refuse), _rows(item.embeddings)
    if isinstance(item, Exchange):
        item.notes, item.embeddings = _notes(item.notes, refuse), _rows(item.embeddings)
        return item
    return dataclasses.replace(item, embedding=on_host(item.embedding), features=_features(item.features))


def restored(given: Any) -> Item:
    """The item that :func:`portable` was given."""
    if isinstance(given, tuple):
        return AnnotatedExchange(*given)
    item: Item = given
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

"""Captured items in a form that another process can take: bytes, numbers, text and numpy arrays.

What a service hands to ``observe()`` may be of any type, of a module that the helper cannot import. Such
values are cleaned here; what is refused is counted here, and is known to the helper as absent.
"""

from __future__ import annotations

import dataclasses
import logging
import marshal
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from exporter.capture.exchange import AnnotatedExchange, Exchange
from exporter.capture.values import Refuse, clean
from exporter.observation import Observation
from exporter.pipeline import Captured, Item

log = logging.getLogger(__name__)

# Later versions look for objects that occur more than once, which takes longer than it saves.
_MARSHAL_VERSION = 2
_PICKLED = b"\x80"  # how no marshalled value begins
_PLAIN = (str, int, float, bool, type(None))


def portable(batch: Sequence[Captured], refuse: Refuse) -> list[bytes]:
    """A batch in pieces, that :func:`restored` puts together again.

    Nearly always the whole of it is plain values, and one piece. Otherwise there is a piece for each item;
    one that cannot be sent at all is left out and logged. ``refuse(field, reason)`` counts values of
    ``observe()`` that are invalid.
    """
    try:
        return [marshal.dumps(cast("Any", batch), _MARSHAL_VERSION)]
    except ValueError:
        pass
    pieces = []
    for source, item in batch:
        try:
            pieces.append(pickle.dumps((source, _plainer(item, refuse)), pickle.HIGHEST_PROTOCOL))
        except Exception:
            log.exception("an item could not be handed to the helper process")
    return pieces


def restored(pieces: list[bytes]) -> list[Captured]:
    """The batch that :func:`portable` was given."""
    if len(pieces) == 1 and not pieces[0].startswith(_PICKLED):
        batch: list[Captured] = marshal.loads(pieces[0])  # noqa: S302 - from our own process
        return batch
    return [pickle.loads(piece) for piece in pieces]  # noqa: S301 - likewise


def _plainer(item: Item, refuse: Refuse) -> Item:
    if isinstance(item, AnnotatedExchange):
        return AnnotatedExchange(item.plain, _notes(item.notes, refuse), _rows(item.embeddings))
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

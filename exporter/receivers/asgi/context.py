"""The request that the running code belongs to, and :func:`observe`, which speaks to it."""

from __future__ import annotations

import itertools
from contextvars import ContextVar
from typing import Any

from exporter.http.exchange import Exchange
from exporter.receivers.plain import kept_on_device, on_device, plain_fields

current_exchange: ContextVar[Exchange | None] = ContextVar("inference_exporter_exchange", default=None)

_orphans = itertools.count(1)
_last_orphan = 0


def observe(
    predicted_class: Any = None,
    confidence: Any = None,
    value: Any = None,
    embedding: Any = None,
    features: Any = None,
    request_id: Any = None,
) -> None:
    """Add to the current request's observation, from inside its handler.

    What is given is copied before the call returns (a tensor on a device stays there, as a copy, until the
    response is sent). Later calls add to earlier ones, and what is named here wins over what the bodies say.
    Outside of a captured request, or once its response was sent (in a background task, say), nothing happens
    but a count in ``inference_exporter_orphan_observes_total``; it never raises.

    Parameters
    ----------
    predicted_class
        The class that the model chose.
    confidence
        Its probability, 0 to 1.
    value
        The output of a regression model.
    embedding
        (d,) array of floats, numpy or torch; float32 is what is kept of it.
    features
        (k,) floats or a mapping: what the model was asked. Its numbers are tested for drift where no
        embedding is ever given.
    request_id
        The caller's identifier.
    """
    exchange = open_exchange()
    if exchange is None:
        global _last_orphan  # noqa: PLW0603 - observe() is a free function: its count is the process's
        _last_orphan = next(_orphans)
        return
    given = {
        "predicted_class": predicted_class,
        "confidence": confidence,
        "value": value,
        "embedding": embedding,
        "features": features,
        "request_id": request_id,
    }
    on_a_device = embedding is not None and on_device(embedding)
    if on_a_device:
        given["embedding"] = None
    refused: list[tuple[str, str]] = []
    said = plain_fields(given, lambda *why: refused.append(why))
    if on_a_device:
        said["embedding"] = kept_on_device(embedding)
    if refused:
        exchange.refused = [*(exchange.refused or ()), *refused]
    exchange.notes = said if exchange.notes is None else {**exchange.notes, **said}


def open_exchange() -> Exchange | None:
    """The request that the running code belongs to, while it can be added to."""
    exchange = current_exchange.get()
    return None if exchange is None or exchange.finished else exchange


def orphan_observes() -> int:
    """How often :func:`observe` was called outside of a captured request, in this process."""
    return _last_orphan

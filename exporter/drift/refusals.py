"""Embeddings that a detector cannot take: counted, and said from time to time where their length is why."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from exporter.model import ModelId

log = logging.getLogger(__name__)

# A service whose embeddings have another length than the detector's sends one with every request.
_SAY_AGAIN_SECONDS = 3600.0


class Refusals:
    """Those of one detector of a model; ``count`` is called with (field, reason) for each."""

    def __init__(
        self, model: ModelId, label: str, count: Callable[[str, str], None], clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._label = label
        self._count = count
        self._clock = clock
        self._said_at = -math.inf

    def __call__(self, reason: str, length: int | None = None, expected: str = "") -> None:
        """Count one; say so if its ``length`` is not the one ``expected``, once an hour."""
        self._count("embedding", reason)
        now = self._clock()
        if length is None or reason != "wrong_shape" or 0 <= now - self._said_at < _SAY_AGAIN_SECONDS:
            return
        self._said_at = now
        log.warning(
            "detector %s of model %s: an embedding of length %d is refused, %s; is it that of this "
            "model, and does the service send one kind of embedding only? (said once an hour)",
            *(self._label, str(self._model), length, expected),
        )

"""Telling the user's own code of a drift event."""

from __future__ import annotations

import logging
from collections.abc import Callable

from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent

log = logging.getLogger(__name__)


class Notifier:
    """Calls ``on_event``, if there is one; what it raises is logged and counted, and nothing else."""

    def __init__(self, on_event: Callable[[DriftEvent], None] | None, instruments: Instruments) -> None:
        self._on_event = on_event
        self._errors = instruments.errors["notify"]

    def __call__(self, event: DriftEvent) -> None:
        """Tell of an event."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            log.exception("the handler of a drift event raised")
            self._errors.inc()

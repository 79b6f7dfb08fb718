"""Prometheus and Alertmanager beside the demonstration, for those who have them installed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from examples.stack import Change, Stack, running_stack

ALERT = "DriftActive"


@contextlib.asynccontextmanager
async def alerting(url: str, on_change: Callable[[Change], None]) -> AsyncIterator[Stack]:
    """Scrape the service at ``url`` with the project's rules, their times shortened to a sixtieth.

    ``on_change`` is called from another thread.

    Raises
    ------
    StackFailed
        If a program is not installed or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="inference-exporter-demo-") as folder:
        stack = running_stack(Path(folder), {"digits": urlsplit(url).netloc}, on_change=on_change)
        running = await asyncio.to_thread(stack.__enter__)
        try:
            yield running
        finally:
            await asyncio.shield(asyncio.to_thread(stack.__exit__, None, None, None))


def alert_complaints(changes: Sequence[Change]) -> list[str]:
    """Say which steps of the drift alert's life did not happen."""
    seen = {change.state for change in changes if change.alert == ALERT}
    steps = {"firing": "never fired", "delivered": "was not delivered", "resolved": "did not resolve"}
    return [f"alert {ALERT} {missing}" for state, missing in steps.items() if state not in seen]

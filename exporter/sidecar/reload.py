"""What a running sidecar takes over from a configuration that is read again, and what it does not."""

from __future__ import annotations

from typing import Any

from exporter.config import Config
from exporter.config.base import Section

TAKEN_OVER = frozenset(
    {
        "alerts",
        "capture.embedder",
        "capture.fields",
        "capture.max_classes",
        "capture.paths",
        "capture.payload",
        "drift",
    }
)
"""Keys, and sections as a whole. Any other that changes needs a restart."""


def needing_restart(old: Config, new: Config) -> list[str]:
    """The keys that differ and are not taken over while running, as they are written in messages."""
    return _changed(old, new, "")


def _changed(old: Any, new: Any, key: str) -> list[str]:
    if old == new or key in TAKEN_OVER:
        return []
    if isinstance(old, Section) and type(old) is type(new):
        prefix = f"{key}." if key else ""
        fields = type(old).model_fields
        return [
            found
            for name in fields
            for found in _changed(getattr(old, name), getattr(new, name), prefix + name)
        ]
    return [key]

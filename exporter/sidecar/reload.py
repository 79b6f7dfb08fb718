"""What a running sidecar takes over from a configuration that is read again, and what it does not."""

from __future__ import annotations

from typing import Any

from exporter.config import Config
from exporter.config.base import Section

_CAPTURE = ("embedder", "fields", "max_classes", "paths", "payload")
TAKEN_OVER = frozenset({"alerts", "drift", *(f"capture.{name}" for name in _CAPTURE)})
"""Keys, and sections with all that is in them. Any other that changes needs a restart."""


def needing_restart(old: Config, new: Config) -> list[str]:
    """The keys that differ and are not taken over while running, as they are written in messages."""
    return _changed(old, new, "")


def _changed(old: Any, new: Any, key: str) -> list[str]:
    if old == new or key in TAKEN_OVER:
        return []
    if not isinstance(old, Section) or type(old) is not type(new):
        return [key]
    prefix = f"{key}." if key else ""
    names = type(old).model_fields
    return [
        found for name in names for found in _changed(getattr(old, name), getattr(new, name), prefix + name)
    ]

"""Where an HTTP/1 connection stands."""

from __future__ import annotations

from typing import Literal

Phase = Literal["unknown", "idle", "asking", "answering", "unfollowed"]
"""Where a connection stands: ``idle`` between exchanges, ``asking`` while a request is incomplete,
``answering`` while a complete one waits for the end of its answer, ``unfollowed`` when it speaks
something else than HTTP/1, ``unknown`` while bytes are still unread."""

"""What the data plane and the analyzer say to each other.

Segments of the capture log are bytes, in marshal's form, since pickle looks for what occurs twice;
everything else is one of the values below.
"""

from __future__ import annotations

import marshal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from exporter.config import Config
from exporter.receivers.proxy.capture_log import Entry, Standing
from exporter.receivers.proxy.stats import ProxyStats


@dataclass(frozen=True)
class Open:
    """To the analyzer, first of all: what to watch, the file that it came from, and how much to log."""

    config: Config
    path: Path | None
    log_level: int


@dataclass(frozen=True)
class Report:
    """To the analyzer: how the data plane stands.

    ``abandoned`` counts connections that passed unread, since there was no analyzer or it died.
    """

    stats: ProxyStats
    abandoned: int
    draining: bool


@dataclass(frozen=True)
class Reload:
    """To the analyzer: read the configuration file again."""


@dataclass(frozen=True)
class Opened:
    """To the data plane: everything is there, and the admin listener answers at ``admin``."""

    admin: str


@dataclass(frozen=True)
class Refused:
    """To the data plane: the configuration cannot serve."""

    error: Exception


@dataclass(frozen=True)
class Told:
    """To the data plane: where connections stand."""

    standings: list[Standing]


def packed(segment: list[Entry]) -> bytes:
    """A segment on its way to the analyzer."""
    return marshal.dumps(cast("Any", segment), 2)


def unpacked(data: memoryview | bytes) -> list[Entry]:
    """The segment, as it was."""
    segment: list[Entry] = marshal.loads(data)  # noqa: S302 - from our own process
    return segment

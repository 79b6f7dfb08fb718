"""What the data plane and the desk say to each other.

Strips of the tape are bytes, in marshal's form, since pickle takes time to look for what occurs twice;
everything else is one of the values below.
"""

from __future__ import annotations

import marshal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from exporter.capture.plane.limits import ProxyStats
from exporter.capture.plane.tape import Entry, Standing
from exporter.config import Config


@dataclass(frozen=True)
class Open:
    """To the desk, first of all: what to watch, the file that it came from, and how much to log."""

    config: Config
    path: Path | None
    log_level: int


@dataclass(frozen=True)
class Report:
    """To the desk: how the data plane stands.

    ``abandoned`` counts connections that passed unread, since there was no desk or it died.
    """

    stats: ProxyStats
    abandoned: int
    draining: bool


@dataclass(frozen=True)
class Reload:
    """To the desk: read the configuration file again."""


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


def packed(strip: list[Entry]) -> bytes:
    """A strip on its way to the desk."""
    return marshal.dumps(cast("Any", strip), 2)


def unpacked(data: memoryview | bytes) -> list[Entry]:
    """The strip, as it was."""
    strip: list[Entry] = marshal.loads(data)  # noqa: S302 - from our own process
    return strip

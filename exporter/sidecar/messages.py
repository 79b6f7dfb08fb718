"""What the data plane and the analyzer say to each other, besides what every process of ours may say.

Segments of the capture log are bytes, in marshal's form, since pickle looks for what occurs twice. The
analyzer says where connections stand as a list, and why it cannot serve as an error. Everything else is one
of the values below.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from exporter.config import Config
from exporter.receivers.proxy.capture_log import Entry
from exporter.receivers.proxy.stats import ProxyStats

PROBES = ("/-/healthy", "/-/ready")

AdminAddress = str | bytes | tuple[str, int]
"""A Unix socket, in the file system or (as bytes that begin with a zero) not, or a port of this host."""


@dataclass(frozen=True)
class Open:
    """To the analyzer, first of all: the configuration in force, and how much to log.

    ``path`` and ``overrides`` are the file that it came from and the keys that win over the file's, for
    reading it again; ``reload_success`` says whether the last reading again succeeded.
    """

    config: Config
    path: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    reload_success: bool = True
    log_level: int = 0


@dataclass(frozen=True)
class Opened:
    """To the data plane: everything is there, and the admin application is served at ``admin``."""

    admin: AdminAddress


@dataclass(frozen=True)
class Report:
    """To the analyzer, which responds with :class:`Seen`: how the data plane stands.

    ``abandoned`` counts connections that were forwarded unread, since there was no analyzer or it died.
    """

    stats: ProxyStats
    abandoned: int
    draining: bool

    def readiness(self) -> tuple[bool, str]:
        """Whether traffic can be served, and why (not)."""
        if self.draining:
            return False, "draining"
        if not self.stats.upstream_up:
            return False, f"upstream not reachable: {self.stats.upstream_error}"
        return True, "ready"


@dataclass(frozen=True)
class Seen:
    """To the data plane: everything up to its last report has been read."""


@dataclass(frozen=True)
class Reload:
    """To the analyzer: read the configuration file again."""


@dataclass(frozen=True)
class Reloaded:
    """To the data plane: the file was read again; ``config`` is in force now, the old one if it failed."""

    config: Config
    success: bool


def packed(segment: list[Entry]) -> bytes:
    """A segment on its way to the analyzer."""
    return marshal.dumps(cast("Any", segment), 2)


def unpacked(data: memoryview | bytes) -> list[Entry]:
    """The segment, as it was."""
    segment: list[Entry] = marshal.loads(data)  # noqa: S302 - from our own process
    return segment

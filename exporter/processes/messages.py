"""What a service and its helper say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from logging import LogRecord

from exporter.config import Config
from exporter.metrics.changes import Changes
from exporter.observation import DriftEvent
from exporter.pipeline.ledger import Tally


@dataclass(frozen=True)
class Begin:
    """To the helper, first of all: what to watch, and the classes that are shown under their own names."""

    config: Config
    known_classes: list[str]


@dataclass(frozen=True)
class Work:
    """To the helper: a batch, whose blocks follow as bytes; for each the lengths of its items, as type L."""

    lengths: list[bytes]


@dataclass(frozen=True)
class Update:
    """To the service: everything that happened since the last one.

    ``responds`` says that the helper has started, or is done with a batch, of which ``tally`` tells.
    """

    changes: Changes
    events: list[DriftEvent]
    log: list[LogRecord]
    responds: bool = False
    tally: Tally | None = None

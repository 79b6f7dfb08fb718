"""What a service and its helper say to each other, and what every process of ours may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.config import Config
from exporter.errors import InferenceExporterError
from exporter.observation import DriftEvent

if TYPE_CHECKING:  # the data plane reads these messages, and loads neither
    from exporter.metrics.changes import Changes
    from exporter.pipeline.ledger import Tally


@dataclass(frozen=True)
class Beat:
    """From any process: it is at work, and has not forgotten us."""


@dataclass(frozen=True)
class Refused:
    """From any process, instead of being ready: the configuration cannot serve."""

    error: InferenceExporterError


@dataclass(frozen=True)
class Begin:
    """To the helper, first of all: what to watch, and the classes that are shown under their own names."""

    config: Config
    known_classes: list[str]


@dataclass(frozen=True)
class Work:
    """To the helper: a batch to handle; for each of its blocks the lengths of its items, an array of type L.

    The blocks themselves follow, as bytes.
    """

    lengths: list[bytes]


@dataclass(frozen=True)
class Line:
    """A line of the helper's log."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class Update:
    """To the service: everything that happened since the last one.

    ``tally`` is given when the batch in hand is done, ``answers`` when the message is the answer to one
    of the service's.
    """

    changes: Changes
    events: list[DriftEvent]
    lines: list[Line]
    answers: bool = False
    tally: Tally | None = None

"""What a service and its helper say to each other, and what every process of ours may say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from exporter.config import Config
from exporter.errors import InferenceExporterError
from exporter.metrics.changes import Changes
from exporter.observation import DriftEvent, Outcome, Source
from exporter.processes.portable import Part


@dataclass(frozen=True)
class Beat:
    """From any process: it is at work, and has not forgotten us."""


@dataclass(frozen=True)
class Refused:
    """From any process, instead of being ready: the configuration cannot serve."""

    error: InferenceExporterError


@dataclass(frozen=True)
class Begin:
    """To the helper, first of all: what to watch."""

    config: Config


@dataclass(frozen=True)
class Work:
    """To the helper: a batch to handle, in the form of :mod:`exporter.processes.portable`, and its bytes."""

    parts: list[Part]


@dataclass(frozen=True)
class Line:
    """A line of the helper's log."""

    logger: str
    level: int
    text: str


@dataclass
class Tally:
    """What became of the items of a batch; see :class:`exporter.pipeline.batches.Outcomes`."""

    extra: Counter[Source] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def unfolded(self, source: Source, n: int) -> None:
        """An exchange turned out to hold ``n`` observations."""
        self.extra[source] += n - 1

    def settled(self, outcome: Outcome, n: int = 1) -> None:
        """``n`` observations came to an end."""
        self.outcomes[outcome] += n

    def dropped(self, reason: str, n: int = 1) -> None:
        """``n`` observations were given up."""
        self.reasons[reason] += n

    @property
    def balance(self) -> int:
        """How many observations ended beyond those that were found besides one for each item."""
        return self.outcomes.total() + self.reasons.total() - self.extra.total()


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

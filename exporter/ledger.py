"""The account of every observation: ``observed = processed + dropped + sampled_out + queued``.

Every movement is one call under one lock, so the equation holds whenever anybody looks: at a scrape,
at shutdown, and after a detector has failed. An exchange counts as one observation until it is read;
one that turns out to answer a batch of n then counts as n.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import prometheus_client

from exporter.instruments import LedgerInstruments
from exporter.observation import Source

Outcome = Literal["processed", "sampled_out"]


@dataclass(frozen=True, slots=True)
class Balance:
    """The ledger at one instant. ``balanced`` is always true; tests hold it to that."""

    observed: int
    processed: int
    dropped: dict[str, int]
    sampled_out: int
    queued: int

    @property
    def balanced(self) -> bool:
        """Whether everything observed is accounted for."""
        return self.observed == self.processed + sum(self.dropped.values()) + self.sampled_out + self.queued


class Ledger:
    """One model's account; ``publish`` carries it over to the metrics."""

    def __init__(self, instruments: LedgerInstruments) -> None:
        self._instruments = instruments
        self._lock = threading.Lock()
        self._observed: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._queued = 0
        self._closed = False
        self._published: Counter[tuple[str, str]] = Counter()

    def admitted(self, source: Source) -> None:
        """One more observation was captured and waits."""
        with self._lock:
            self._observed[source] += 1
            self._queued += 1

    def refused(self, source: Source, reason: str) -> None:
        """One more observation was captured, and given up at once."""
        with self._lock:
            self._observed[source] += 1
            self._dropped[reason] += 1

    def withdrawn(self, reason: str) -> None:
        """An admitted observation found no place in the queue after all."""
        with self._lock:
            self._queued -= 1
            self._dropped[reason] += 1

    def unfolded(self, source: Source, n: int) -> None:
        """A waiting exchange turned out to hold ``n`` observations."""
        with self._lock:
            if not self._closed:
                self._observed[source] += n - 1
                self._queued += n - 1

    def settled(self, outcome: Outcome, n: int = 1) -> None:
        """``n`` waiting observations came to an end."""
        with self._lock:
            if not self._closed:
                self._queued -= n
                self._outcomes[outcome] += n

    def dropped(self, reason: str, n: int = 1) -> None:
        """``n`` waiting observations were given up."""
        with self._lock:
            if not self._closed:
                self._queued -= n
                self._dropped[reason] += n

    def close(self) -> None:
        """Give up what still waits; a worker that wakes up later changes nothing any more."""
        with self._lock:
            self._dropped["stopped"] += self._queued
            self._queued = 0
            self._closed = True

    def reopen(self) -> None:
        """Take up the account again after a restart."""
        with self._lock:
            self._closed = False

    def balance(self) -> Balance:
        """The account as it stands."""
        with self._lock:
            return Balance(
                observed=self._observed.total(),
                processed=self._outcomes["processed"],
                dropped=dict(self._dropped),
                sampled_out=self._outcomes["sampled_out"],
                queued=self._queued,
            )

    def publish(self, queue_bytes: int) -> None:
        """Carry the account over to the metrics, all of it as of one instant."""
        counters = self._instruments
        with self._lock:
            for source, n in self._observed.items():
                self._advance(("observed", source), n, counters.observed[source])
            for reason, n in self._dropped.items():
                self._advance(("dropped", reason), n, counters.dropped[reason])
            self._advance(("outcome", "processed"), self._outcomes["processed"], counters.processed)
            self._advance(("outcome", "sampled_out"), self._outcomes["sampled_out"], counters.sampled_out)
            counters.queued.set(self._queued)
            counters.queue_bytes.set(queue_bytes)

    def _advance(self, key: tuple[str, str], total: int, counter: prometheus_client.Counter) -> None:
        step = total - self._published[key]
        if step:
            counter.inc(step)
            self._published[key] = total

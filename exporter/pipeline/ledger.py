"""The account of every observation: ``observed = processed + dropped + sampled_out + queued``.

Every movement is one call under one lock, so the equation holds whenever anybody looks: at a scrape,
at shutdown, and after a detector has failed. An exchange counts as one observation until it is read;
one that turns out to hold n instances then counts as n.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import prometheus_client

from exporter.metrics.instruments import LedgerInstruments
from exporter.observation import Source


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


@dataclass
class Tally:
    """What became of the items of a batch, each of which is one observation until it is read.

    ``found`` counts the observations that items turned out to hold beyond one each; ``ended`` those that are
    ``processed``, ``sampled_out``, or given up for a reason.
    """

    found: Counter[Source] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)

    def unfolded(self, source: Source, n: int) -> None:
        """An exchange turned out to hold ``n`` observations, at least one."""
        self.found[source] += n - 1

    def dropped(self, reason: str, n: int = 1) -> None:
        """``n`` observations were given up."""
        self.ended[reason] += n

    def add(self, other: Tally) -> None:
        """Take over what another one says."""
        self.found.update(other.found)
        self.ended.update(other.ended)


class Ledger:
    """One model's account; :meth:`publish` carries it over to the metrics.

    What waits is kept in an :class:`Account`, one for the life of each worker.
    """

    def __init__(self, instruments: LedgerInstruments) -> None:
        self._instruments = instruments
        self._metrics_are_the_parents = False
        self._begin()

    def open(self) -> Account:
        """The account of a new worker."""
        return Account(self)

    def refused(self, source: Source, reason: str) -> None:
        """One more observation was captured, and given up at once."""
        with self.lock:
            self.observed[source] += 1
            self.drop(reason, 1)

    def balance(self) -> Balance:
        """The account as it stands."""
        with self.lock:
            return Balance(
                observed=self.observed.total(),
                processed=self.outcomes["processed"],
                dropped=dict(self.dropped),
                sampled_out=self.outcomes["sampled_out"],
                queued=self.queued,
            )

    def publish(self, queue_bytes: int) -> None:
        """Carry the account over to the metrics, all of it as of one instant."""
        counters = self._instruments
        with self.lock:
            if self._metrics_are_the_parents:
                self._metrics_are_the_parents = False
                for counter in (*counters.observed.values(), *counters.dropped.values()):
                    counter.reset()
                counters.processed.reset()
                counters.sampled_out.reset()
            for source, n in self.observed.items():
                self._advance(("observed", source), n, counters.observed[source])
            for reason, n in self.dropped.items():
                self._advance(("dropped", reason), n, counters.dropped[reason])
            self._advance(("outcome", "processed"), self.outcomes["processed"], counters.processed)
            self._advance(("outcome", "sampled_out"), self.outcomes["sampled_out"], counters.sampled_out)
            counters.queued.set(self.queued)
            counters.queue_bytes.set(queue_bytes)

    def after_fork(self) -> None:
        """In a child process: its account begins at zero, since the parent goes on with what it captured.

        The metrics follow with the next :meth:`publish`: a child that never captures anything shall
        leave no trace in a folder that processes share.
        """
        self._begin()
        self._metrics_are_the_parents = True

    def drop(self, reason: str, n: int) -> None:
        """Book ``n`` as given up; the lock is held. A reason outside of the contract is ``failed``."""
        self.dropped[reason if reason in self._instruments.dropped else "failed"] += n

    def _begin(self) -> None:
        self.lock = threading.Lock()
        self.observed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.queued = 0
        self._published: Counter[tuple[str, str]] = Counter()

    def _advance(self, key: tuple[str, str], total: int, counter: prometheus_client.Counter) -> None:
        step = total - self._published[key]
        if step > 0:
            counter.inc(step)
            self._published[key] = total


class Account:
    """What waits for one worker.

    Closing it gives up whatever still waits. A thread that hung then, and wakes up later, speaks to
    a closed account, and changes nothing: not even after a restart, which opens another one.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._closed = False
        self._waiting = 0

    def admitted(self, source: Source) -> None:
        """One more observation was captured and waits."""
        ledger = self._ledger
        with ledger.lock:
            ledger.observed[source] += 1
            if self._closed:
                ledger.drop("stopped", 1)
            else:
                # On the request path: not worth a call.
                self._waiting += 1
                ledger.queued += 1

    def dropped(self, reason: str) -> None:
        """A waiting observation found no place in the queue."""
        with self._ledger.lock:
            if not self._closed:
                self._end(reason, 1)

    def settle(self, n_items: int, tally: Tally) -> None:
        """Book what became of a batch of items, each of which waits as one observation.

        Of whatever the tally does not speak, it was given up as ``failed``; where it speaks of more
        observations than there were, the rest of what it says is not booked.
        """
        ledger = self._ledger
        with ledger.lock:
            if self._closed:
                return
            for source, n in tally.found.items():
                ledger.observed[source] += n
                self._wait(n)
            left = n_items + tally.found.total()
            for outcome, n in tally.ended.items():
                booked = max(0, min(n, left))
                self._end(outcome, booked)
                left -= booked
            self._end("failed", left)

    def close(self) -> None:
        """Give up what still waits."""
        with self._ledger.lock:
            self._closed = True
            if self._waiting:
                self._ledger.drop("stopped", self._waiting)
                self._wait(-self._waiting)

    def _end(self, outcome: str, n: int) -> None:
        ledger = self._ledger
        self._wait(-n)
        if outcome in ("processed", "sampled_out"):
            ledger.outcomes[outcome] += n
        elif n:
            ledger.drop(outcome, n)

    def _wait(self, n: int) -> None:
        self._waiting += n
        self._ledger.queued += n

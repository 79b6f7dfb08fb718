"""The account of every observation: ``observed = processed + dropped + sampled_out + queued``.

Every movement happens under one lock, so the equation holds whenever anybody looks: at a scrape, at
shutdown, and after a detector has failed. An exchange counts as one observation until it is read; one that
turns out to hold n instances then counts as n.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from exporter.metrics.contract import DROP_REASONS

_ENDS = {"processed", "sampled_out", *DROP_REASONS}


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

    ``found`` counts, by source, the observations that items turned out to hold beyond one each; ``ended``
    those that are ``processed``, ``sampled_out``, or given up for a reason.
    """

    found: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Take over what another one says."""
        self.found.update(other.found)
        self.ended.update(other.ended)


class Ledger:
    """One model's account, in plain numbers; whoever changes ``observed`` or ``queued`` holds the lock."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """All of it is zero, as in a child process: the parent goes on with what it captured."""
        self.lock = threading.Lock()
        self.observed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.queued = 0

    def refused(self, source: str, reason: str, n: int = 1) -> None:
        """``n`` more observations were captured, and given up at once."""
        with self.lock:
            self.observed[source] += n
            self.end(reason, n)

    def settle(self, n_items: int, tally: Tally) -> None:
        """Say what became of queued items, each of which waited as one observation; the lock is held.

        Of whatever the tally does not speak, it was given up as ``failed``; where it speaks of more
        observations than there were, the rest of what it says does not count.
        """
        self.queued -= n_items
        self.observed.update(tally.found)
        left = n_items + tally.found.total()
        for outcome, n in tally.ended.items():
            counted = max(0, min(n, left))
            self.end(outcome, counted)
            left -= counted
        self.end("failed", left)

    def end(self, outcome: str, n: int = 1) -> None:
        """``n`` observations have ended; the lock is held. A reason outside of the contract is ``failed``."""
        self.ended[outcome if outcome in _ENDS else "failed"] += n

    def balance(self) -> Balance:
        """The account as it stands."""
        with self.lock:
            dropped = {reason: n for reason in DROP_REASONS if (n := self.ended[reason])}
            return Balance(
                self.observed.total(),
                self.ended["processed"],
                dropped,
                self.ended["sampled_out"],
                self.queued,
            )

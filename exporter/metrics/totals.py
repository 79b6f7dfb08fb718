"""Plain totals carried over to counters.

Hot paths count in plain integers, exact and free of locks; a counter wants what was added since.
"""

from __future__ import annotations

from prometheus_client import Counter


class Totals:
    """Remembers how much of each total its counter has been given; for one thread at a time."""

    def __init__(self) -> None:
        self._carried: dict[Counter, int] = {}

    def carry(self, counter: Counter, total: int) -> None:
        """Advance ``counter`` by what ``total``, which only ever grows, has grown since the last call.

        Raises
        ------
        ValueError
            If the total is less than before: a counter never goes down.
        """
        step = total - self._carried.get(counter, 0)
        if step:
            counter.inc(step)
            self._carried[counter] = total

    def begin_anew(self) -> None:
        """The totals begin at zero again, as in a child process; what the counters show stays."""
        self._carried.clear()

    def reset(self) -> None:
        """The totals begin at zero again, and so do the counters: they show another process's."""
        for counter in self._carried:
            counter.reset()
        self._carried.clear()

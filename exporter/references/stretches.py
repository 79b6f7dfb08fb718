"""Which rows of a stream make stretches that are spread over a period."""

from __future__ import annotations

from typing import Any

# A clock that goes back by more than this was set; by less, observations have overtaken each other.
_OVERTAKEN_SECONDS = 1.0


class Stretches:
    """The period is cut into slots, and the first ``length`` rows of each slot are taken.

    Slots in which less comes bring what comes; what a slot left out is not made up for later, since the rows
    would then be of one time of the day. A gap in the stream, as a night, a restart or a clock that was
    set forward, counts at most half of the period, so that no jump of a clock ends it; a clock that was set
    back counts nothing.

    Parameters
    ----------
    period
        In seconds.
    slots
        How many stretches it holds.
    length
        Rows of each.
    """

    def __init__(self, period: float, slots: int, length: int) -> None:
        self.length = length
        self._period = period
        self._slot_seconds = period / slots
        self._elapsed = 0.0
        self._last: float | None = None
        self._slot = -1
        self._taken = 0

    @property
    def over(self) -> bool:
        """Whether the period has passed."""
        return self._elapsed >= self._period

    def admits(self, timestamp: float) -> bool:
        """Whether a row of that time, in seconds, is taken."""
        gap = 0.0 if self._last is None else timestamp - self._last
        if self._last is None or not -_OVERTAKEN_SECONDS <= gap <= 0.0:
            self._last = timestamp
        self._elapsed += min(max(gap, 0.0), self._period / 2)
        slot = int(self._elapsed / self._slot_seconds)
        if slot != self._slot:
            self._slot, self._taken = slot, 0
        if self._taken >= self.length:
            return False
        self._taken += 1
        return True

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs to go on, as JSON values."""
        return {"elapsed": self._elapsed, "last": self._last, "slot": self._slot, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state` was asked for."""
        self._elapsed, self._slot = float(state["elapsed"]), int(state["slot"])
        self._last = None if state["last"] is None else float(state["last"])
        self._taken = int(state["taken"])

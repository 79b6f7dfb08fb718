"""Thinning a stream in time, so that a test's cost and its false-alarm rate are per second."""

from __future__ import annotations

# A clock that goes back by more than this was set; by less, observations have overtaken each other.
_OVERTAKEN_SECONDS = 1.0


class RateSampler:
    """Lets at most ``max_per_second`` observations through, evenly spaced; all of them where it is None.

    Neighbours in time are often alike (video frames, retries of one client), and a threshold that
    is calibrated for independent observations does not hold for them. Even spacing takes the
    observations apart, where a token bucket would pass a burst of neighbours: two that pass are
    never closer than half of 1 / ``max_per_second``, and n of them take (n - 1.5) / ``max_per_second``
    seconds or more. The half step of grace keeps up the rate where the stream itself comes in steps.
    """

    def __init__(self, max_per_second: float | None) -> None:
        self._interval = None if max_per_second is None else 1.0 / max_per_second
        self._next = float("-inf")

    def admits(self, timestamp: float) -> bool:
        """Whether the observation of that time, in seconds, is tested."""
        if self._interval is None:
            return True
        if timestamp < self._next:
            if self._next - timestamp <= self._interval + _OVERTAKEN_SECONDS:
                return False
            # Waiting for a clock that was set back to catch up would silence the test until then.
            self._next = timestamp
        self._next = max(self._next, timestamp - self._interval / 2) + self._interval
        return True

"""Thinning a stream in time, so that a test's cost and its false-alarm rate are per second."""

from __future__ import annotations


class RateSampler:
    """Lets at most ``max_per_second`` observations through, evenly spaced.

    Neighbours in time are often alike (video frames, retries of one client), and a threshold that
    is calibrated for independent observations does not hold for them. Even spacing takes the
    observations apart, where a token bucket would pass a burst of neighbours.

    Parameters
    ----------
    max_per_second
        None lets everything through.
    """

    def __init__(self, max_per_second: float | None) -> None:
        self._interval = None if max_per_second is None else 1.0 / max_per_second
        self._next = float("-inf")

    def admits(self, timestamp: float) -> bool:
        """Whether the observation of that time (seconds, on any clock that moves forward) is tested."""
        if self._interval is None:
            return True
        if timestamp < self._next:
            # A clock that was set back must not silence the test until it has caught up.
            if self._next - timestamp > 2 * self._interval:
                self._next = timestamp + self._interval
                return True
            return False
        self._next = max(self._next, timestamp - self._interval) + self._interval
        return True

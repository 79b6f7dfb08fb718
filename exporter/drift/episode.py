"""When a drift begins and when it ends: single tests above the threshold, joined into episodes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Episode:
    """The state of one window's alarm.

    An episode begins with a test above the threshold and ends once a whole window of tests in a row
    stayed below it: until then the window still holds observations of the drift.

    Parameters
    ----------
    window
        Length of the window, in observations.
    """

    window: int
    active: bool = False
    quiet: int = 0

    def step(self, is_drift: bool) -> bool:
        """Take the next verdict; True if an episode begins with it."""
        if is_drift:
            begins = not self.active
            self.active = True
            self.quiet = 0
            return begins
        if self.active:
            self.quiet += 1
            if self.quiet >= self.window:
                self.active = False
        return False

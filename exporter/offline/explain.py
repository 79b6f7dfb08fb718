"""What a threshold means: false alarms in time, and how soon a shift of a given size is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.online import OnlineMMD

SHIFTS = (0.1, 0.25, 0.5, 1.0, 2.0)
DIRECTIONS = ("all dimensions", "main direction", "one dimension")
SECONDS_PER_MONTH = 30 * 86400.0
_UNITS = (("day", 86400, "hour", 3600), ("hour", 3600, "minute", 60), ("minute", 60, "second", 1))


@dataclass(frozen=True, slots=True)
class Delay:
    """How many tests pass until a shift is seen.

    The ``shift`` is in standard deviations of the reference, along ``all dimensions`` (each by so many of
    its own), the ``main direction`` (the first principal axis) or ``one dimension`` (that of the largest
    spread). ``median`` is the median number of observations from the shift to the alarm, None where fewer
    than half of the simulated streams raised one in time; ``seen`` is the share that did, 0 to 1.
    """

    shift: float
    direction: str
    median: float | None
    seen: float


def horizon(detector: OnlineMMD) -> int:
    """Observations after the shift that each simulated stream has."""
    return 10 * detector.windows[-1]


def simulate_delays(
    detector: OnlineMMD,
    reference: NDArray[np.float64],
    *,
    shifts: tuple[float, ...] = SHIFTS,
    directions: tuple[str, ...] = DIRECTIONS,
    runs: int = 40,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> list[Delay]:
    """Shift streams of reference rows by known amounts, and count the tests until the alarm.

    Each stream fills the longest window with rows of the (n, d) ``reference``, drawn without
    replacement, then goes on with further rows, shifted. A row that is also in the reference would
    look more typical than a new one; its own kernel value, which a shift makes the same for all, is
    taken out again.
    """
    rng = np.random.default_rng(seed)
    vectors = _directions(reference, directions)
    cells = [(shift, name) for name in directions for shift in shifts]
    delays = []
    for index, (shift, name) in enumerate(cells):
        waits = np.sort([_wait(detector, reference, shift * vectors[name], rng) for _ in range(runs)])
        median = float(waits[(runs - 1) // 2])
        seen = float(np.isfinite(waits).mean())
        delays.append(Delay(shift, name, median if np.isfinite(median) else None, seen))
        if progress is not None:
            progress((index + 1) / len(cells))
    return delays


def _directions(reference: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """The shift of one standard deviation along each direction, (d,) each."""
    std = reference.std(axis=0)
    found = {
        "all dimensions": std,
        "one dimension": np.where(np.arange(std.size) == std.argmax(), std, 0.0),
    }
    if "main direction" in names:
        centred = reference - reference.mean(axis=0)
        _, singular, axes = np.linalg.svd(centred, full_matrices=False)
        found["main direction"] = axes[0] * singular[0] / np.sqrt(reference.shape[0])
    return found


def _wait(
    detector: OnlineMMD, reference: NDArray[np.float64], vector: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Tests from the shift to the alarm; infinite where there was none in time."""
    n, longest = reference.shape[0], detector.windows[-1]
    order = np.resize(rng.permutation(n), longest + horizon(detector))
    detector.reset()
    before = detector.update(reference[order[:longest]])
    typical = detector.evidence().witness.mean()
    # After the shift the window changes its make-up; its mean witness is taken as it ends.
    after = detector.update(reference[order[longest:]] + vector)
    shifted = detector.evidence().witness.mean()
    detector.reset()
    own = float(np.exp(-(vector @ vector) / (2.0 * detector.bandwidth**2)))
    fresh = np.clip(np.arange(1, after.test_stat.size + 1)[:, None] / np.array(detector.windows), 0.0, 1.0)
    excess = (1.0 - typical) * (1.0 - fresh) + (own - shifted) * fresh
    statistic = after.test_stat_by_window + 2.0 * excess / (n - 1.0)
    above = (statistic > before.threshold_by_window).any(axis=1)
    return float(np.argmax(above)) + 1.0 if above.any() else math.inf


@dataclass(frozen=True, slots=True)
class Rate:
    """What an expected run length is in time."""

    tests_per_second: float
    seconds_between: float  # mean time between false alarms
    per_month: float  # false alarms in 30 days
    window_seconds: tuple[float, ...]  # how far back each window looks

    @classmethod
    def of(cls, detector: OnlineMMD, tests_per_second: float) -> Rate:
        """The detector's run length at so many tests a second."""
        seconds = detector.expected_run_length / tests_per_second
        look_back = tuple(w / tests_per_second for w in detector.windows)
        return cls(tests_per_second, seconds, SECONDS_PER_MONTH / seconds, look_back)


def in_words(seconds: float) -> str:
    """A duration as people say it: two units at most."""
    if seconds < 0.95:
        return f"{seconds:.2g} seconds"
    if seconds >= 730 * 86400:
        return f"{seconds / (365.25 * 86400):,.1f} years"
    rounded = round(seconds) if seconds >= 10 else seconds
    for name, size, smaller, small in _UNITS:
        if rounded >= size:
            count, rest = divmod(rounded, size)
            text = _counted(count, name)
            return f"{text} {_counted(rest // small, smaller)}" if rest >= small and count < 10 else text
    return f"{rounded:.3g} second{'' if rounded == 1 else 's'}"


def _counted(count: float, name: str) -> str:
    return f"{count:.0f} {name}{'' if count == 1 else 's'}"

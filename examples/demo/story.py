"""The phases of the demonstration, what each of them showed, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from examples.demo.scrape import Snapshot
from examples.traffic import SHAPES


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of traffic of one kind.

    Parameters
    ----------
    kind
        A phase of ``examples.digits.traffic``.
    expect_drift
        True if drift must be found, False if it must not, None if it is not judged.
    requests
        Send exactly this many instead of going by the clock.
    """

    name: str
    kind: str
    seed: int
    expect_drift: bool | None
    text: str
    steps: tuple[int, ...] = SHAPES["ramp"]
    requests: int | None = None


def plan(window: int) -> tuple[Phase, ...]:
    """The story: clean, drifted, clean.

    A test looks at the last ``window`` requests. The first ones after the drift are therefore tested
    together with drifted ones, and rightly raise the alarm. That is why ``window`` clean requests
    are sent, and not judged, before the second clean phase begins.
    """
    return (
        Phase("clean", "clean", 1, False, "digits as in training, but never seen before"),
        Phase("drifted", "drifted", 2, True, "the same digits rotated, then blurred, inverted, noisy"),
        Phase(
            "flush",
            "clean",
            3,
            None,
            f"{window} clean requests push the drifted ones out of the window",
            steps=(3,),
            requests=window,
        ),
        Phase("clean again", "clean", 4, False, "digits as in training"),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the metrics said about one phase; ``delay`` is in requests, None if nothing was found."""

    phase: Phase
    requests: int
    tests: int
    mean_confidence: float
    median_statistic: float
    max_statistic: float
    events: int
    episodes: int
    delay: int | None
    ended_active: bool

    def complaint(self) -> str | None:
        """Say what went wrong in this phase, or None."""
        if self.phase.expect_drift is None:
            return None
        if self.tests == 0:
            return f"{self.phase.name}: nothing was tested"
        if self.phase.expect_drift and not (self.events and self.episodes):
            return f"{self.phase.name}: drift was missed in {self.tests} tests"
        if not self.phase.expect_drift and self.events:
            return f"{self.phase.name}: {self.events} false alarms in {self.tests} tests"
        if not self.phase.expect_drift and self.ended_active:
            return f"{self.phase.name}: the drift episode did not end"
        return None


def outcome(phase: Phase, before: Snapshot, during: list[Snapshot]) -> Outcome:
    """Compare the scrapes of a phase with the last one before it.

    Both ends must be settled scrapes, so that every request counts in its own phase. The delay
    follows from the first scrape that shows events: of the tests made until then, all but the events
    came before the alarm.
    """
    last = during[-1]
    seen = [s.statistic for s in during if s.tests > before.tests and s.statistic == s.statistic]
    confidences = last.confidence_count - before.confidence_count
    alarmed = next((s for s in during if s.events > before.events), None)
    delay = None
    if alarmed is not None:
        delay = (alarmed.tests - before.tests) - (alarmed.events - before.events) + 1
    return Outcome(
        phase=phase,
        requests=sum(last.answers.values()) - sum(before.answers.values()),
        tests=last.tests - before.tests,
        mean_confidence=(last.confidence_sum - before.confidence_sum) / confidences
        if confidences
        else float("nan"),
        median_statistic=median(seen) if seen else float("nan"),
        max_statistic=max(seen, default=float("nan")),
        events=last.events - before.events,
        episodes=last.episodes - before.episodes,
        delay=delay,
        ended_active=last.active,
    )


def complaints(outcomes: list[Outcome], last: Snapshot) -> list[str]:
    """Everything that keeps the demonstration from having succeeded."""
    found = [text for text in (o.complaint() for o in outcomes) if text]
    refused = {status: n for status, n in last.answers.items() if status != "2xx" and n}
    if refused:
        found.append(f"requests were refused: {refused}")
    if last.lost:
        found.append(f"{last.lost} observations were lost")
    return found

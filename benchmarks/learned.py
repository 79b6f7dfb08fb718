"""Do false alarms come as rarely as asked with a reference that was learned from the stream itself?

    python -m benchmarks.learned --out docs/figures/learned.md

Rows of 16 dimensions come five a second. A reference is learned as a service learns it, from the first
1,000 rows, beginning at the peak of the day, or by the default: 20 stretches of 100 rows over a day,
resampled as blocks. Then the stream goes on without drift, and episodes of drift are counted. ``--short``
takes a minute and shows that the script works.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.config import StretchesConfig
from exporter.detectors import OnlineMMD
from exporter.drift.window_metrics import Episode
from exporter.references.learner import ReferenceLearner
from exporter.references.reference import Reference

D, WINDOW, RATE, DAY = 16, 50, 5.0, 86_400.0
WEEK = 7 * DAY * RATE
_CHUNK = 4096
Plan = int | StretchesConfig
PLANS: dict[str, Plan] = {"first 1,000": 1000, "stretches": StretchesConfig()}


@dataclass
class Stream:
    """Rows in order: an AR(1) process around a daily cycle, and a shift for as long as it is set."""

    seed: int
    correlation: float = 0.0
    cycle: float = 0.0
    shift: float = 0.0
    taken: int = 0
    _last: NDArray[np.float32] = field(default_factory=lambda: np.zeros(D, dtype=np.float32))

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 7])
        self._last = self._rng.standard_normal(D, dtype=np.float32)

    def take(self, n: int) -> NDArray[np.float32]:
        """The next (n, d) rows."""
        rows = self._rng.standard_normal((n, D), dtype=np.float32)
        if self.correlation:
            rows *= np.float32(np.sqrt(1.0 - self.correlation**2))
            for number, row in enumerate(rows):
                row += np.float32(self.correlation) * (rows[number - 1] if number else self._last)  # noqa: PLW2901
            self._last = rows[-1].copy()
        seconds = (self.taken + np.arange(n)) / RATE
        self.taken += n
        level = self.cycle * np.cos(2.0 * np.pi * seconds / DAY) + self.shift
        return rows + level[:, None].astype(np.float32)


STREAMS: dict[str, Callable[[int], Stream]] = {
    "independent": Stream,
    "daily cycle of 0.5 sigma": lambda seed: Stream(seed, cycle=0.5),
    "AR(0.7)": lambda seed: Stream(seed, correlation=0.7),
    "AR(0.7) and the daily cycle": lambda seed: Stream(seed, correlation=0.7, cycle=0.5),
}


def learn(stream: Stream, plan: Plan, drifted: float = 0.0, *, judged: bool = False) -> Reference:
    """The reference that is learned; a share of the period, in its middle, is shifted by one sigma.

    If it is ``judged``, a detector with the provisional reference runs beside, as in a service; else nothing
    is left out.
    """
    learner = ReferenceLearner(plan, window=WINDOW)
    from_row = int((0.5 - drifted / 2) * DAY * RATE)
    to_row = from_row + int(drifted * DAY * RATE)
    provisional, episode = None, Episode(WINDOW)
    while True:
        stream.shift = 1.0 if from_row <= stream.taken < to_row else 0.0
        rows = stream.take(20)
        if provisional is not None:
            scores = provisional.update(rows)
            for statistic in scores.test_stat[~np.isnan(scores.test_stat)].tolist():
                episode.step(statistic, scores.threshold)
        for row in rows:
            learner.add(row, stream.taken / RATE, drifting=episode.active)
        if learner.due == "provisional":
            provisional = fitted(learner.reference(), WEEK, stream.seed) if judged else None
            learner.no_provisional()
        elif learner.due is not None:
            stream.shift = 0.0
            return learner.reference()


def fitted(reference: Reference, expected: float, seed: int) -> OnlineMMD:
    return OnlineMMD.fit(
        reference.rows,
        window=WINDOW,
        expected_run_length=expected,
        block=reference.origin.block,
        seed=seed,
    )


def episodes(detector: OnlineMMD, stream: Stream, tests: float) -> tuple[int, float]:
    """Episodes of drift among the next tests, and the share of tests that lie in one."""
    episode, found, inside, left = Episode(WINDOW), 0, 0, int(tests)
    while left > 0:
        scores = detector.update(stream.take(min(_CHUNK, left)))
        left -= _CHUNK
        for statistic in scores.test_stat[~np.isnan(scores.test_stat)].tolist():
            found += episode.step(statistic, scores.threshold)
            inside += episode.active
    return found, inside / tests


def delay(detector: OnlineMMD, stream: Stream, sizes: tuple[float, ...], runs: int) -> list[float]:
    """Mean tests until a shift of so many sigma in every dimension is found; a day at most."""
    out = []
    for size in sizes:
        delays = []
        for _ in range(runs):
            stream.shift = 0.0
            detector.update(stream.take(2 * WINDOW))
            stream.shift = size
            waited = 0
            while waited < DAY * RATE / 10:
                loud = np.flatnonzero(detector.update(stream.take(WINDOW)).is_drift)
                if loud.size:
                    waited += int(loud[0]) + 1
                    break
                waited += WINDOW
            delays.append(waited)
            stream.shift = 0.0
            detector.update(stream.take(4 * WINDOW))
        out.append(float(np.mean(delays)))
    return out


def ratios(names: list[str], seeds: int, expected: float, tests: float) -> list[str]:
    lines = [
        f"| stream | reference | episodes in {tests:,.0f} tests, R = {expected:,.0f} | of the tests in one "
        "| measured / expected |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        make = STREAMS[name]
        for kind, plan in PLANS.items():
            counts, shares = [], []
            for seed in range(seeds):
                stream = make(seed)
                detector = fitted(learn(stream, plan), expected, seed)
                count, share = episodes(detector, stream, tests)
                counts.append(count)
                shares.append(share)
            total = seeds * tests / expected
            ratio = f"{total / sum(counts):.2f}" if sum(counts) else f"above {total:.0f}"
            shown = ", ".join(map(str, counts))
            lines.append(
                f"| {name} | {kind} | {shown}; {total / seeds:.0f} expected | {np.mean(shares):.1%} "
                f"| {ratio} |"
            )
            print(lines[-1], flush=True)
    return lines


def week(seeds: int, tests: float) -> list[str]:
    lines = [
        "| reference | threshold | episodes in a week, one expected | of the tests in one |",
        "|---|---|---|---|",
    ]
    for seed in range(seeds):
        stream = Stream(seed, cycle=0.5)
        detector = fitted(learn(stream, PLANS["stretches"]), WEEK, seed)
        found, share = episodes(detector, stream, tests)
        lines.append(f"| stretches, {seed} | {detector.threshold:.4f} | {found} | {share:.2%} |")
        print(lines[-1], flush=True)
    return lines


def contamination(seeds: int, expected: float, tests: float, runs: int) -> list[str]:
    sizes = (0.5, 1.0)
    lines = [
        "| stream | drifted | left out | threshold | measured / expected | until 0.5 sigma | until 1 sigma |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("independent", "daily cycle of 0.5 sigma"):
        for share, judged in ((0.0, False), (0.05, False), (0.05, True)):
            counts, thresholds, waited = [], [], []
            for seed in range(seeds):
                stream = STREAMS[name](seed)
                detector = fitted(learn(stream, PLANS["stretches"], share, judged=judged), expected, seed)
                thresholds.append(detector.threshold)
                counts.append(episodes(detector, stream, tests)[0])
                waited.append(delay(detector, stream, sizes, runs))
            total = seeds * tests / expected
            ratio = f"{total / sum(counts):.2f}" if sum(counts) else f"above {total:.0f}"
            shown = " | ".join(f"{each:,.0f}" for each in np.mean(waited, axis=0))
            lines.append(
                f"| {name} | {share:.0%} | {'by the rule' if judged else 'nothing'} | "
                f"{np.mean(thresholds):.4f} | {ratio} | {shown} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=("ratios", "week", "contamination"))
    parser.add_argument("--streams", nargs="+", choices=tuple(STREAMS), default=list(STREAMS))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--weeks", type=int, default=1)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    started = time.perf_counter()
    tests = 20_000.0 if given.short else DAY * RATE
    seeds = 1 if given.short else given.seeds
    parts = given.parts or ("ratios", "week", "contamination")
    lines = [
        "# Learned references\n",
        f"By `python -m benchmarks.learned --seeds {given.seeds} --weeks {given.weeks}`: W = {WINDOW}, {D} "
        "dimensions, five rows a second.",
    ]
    if "ratios" in parts:
        lines.append("\nA simulated day after the day, or the first 1,000 rows, that was learned from:\n")
        lines += ratios(given.streams, seeds, 10_000.0, tests)
    if "week" in parts:
        lines.append("\nA week at the default, one false alarm a week, with the daily cycle:\n")
        lines += week(given.weeks, tests if given.short else WEEK)
    if "contamination" in parts:
        lines.append(
            "\nA part of the day, in its middle, was shifted by one sigma in every dimension while it was "
            "learned; R = 10,000, and then no drift, or tests until a shift is seen:\n"
        )
        lines += contamination(1, 10_000.0, tests, 2 if given.short else 10)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if given.out is not None:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

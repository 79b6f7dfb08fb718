"""A week of real sequences at the default settings: false alarms while nothing drifts, then the delay.

    python -m benchmarks.sequences --out docs/figures/sequences.md

Streams as in ``benchmarks/real_streams.py``, at most five rows a second by a clock that is simulated. A
reference is learned from the stream itself by the package's own learner: the default, stretches over a day
with a provisional reference beside it, or the first 2,000 rows. Then comes a week without drift at the
default of one false alarm a week, and a day at R = 10,000, where there is more to count; then drift.
``--short`` shows in a minute that it works.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_streams import DAY, RATE, Patients, Requests, Source, Video, digits, photographs
from exporter.config import StretchesConfig
from exporter.detectors import OnlineMMD
from exporter.drift.window_metrics import Episode
from exporter.references.learner import ReferenceLearner
from exporter.references.reference import Reference

WEEK, MANY = 7 * DAY * RATE, 10_000.0
MOST = 5000  # observations until a drift counts as not seen
_CHUNK, _LITTLE = 4096, 100

STREAMS: dict[str, tuple[int, Callable[[int], Source]]] = {
    "digits, scenes of 10 frames": (50, lambda seed: Video(digits(), seed, frames=10, roam=False)),
    "photographs, scenes of 50 frames": (250, lambda seed: Video(photographs(), seed, frames=50, roam=True)),
    "patients by age, every day": (50, Patients),
    "requests of sessions": (50, Requests),
}
PLANS: dict[str, int | StretchesConfig] = {"stretches over a day": StretchesConfig(), "first 2,000": 2000}


def fitted(reference: Reference, window: int, expected: float, seed: int) -> OnlineMMD:
    return OnlineMMD.fit(
        reference.rows, window=window, expected_run_length=expected, block=reference.origin.block, seed=seed
    )


def learn(stream: Source, plan: int | StretchesConfig, window: int, seed: int) -> Reference:
    """What a service learns, with the provisional detector's episodes to say what to leave out."""
    learner = ReferenceLearner(plan, window=window)
    provisional, episode = None, Episode(window)
    while True:
        rows, times = stream.take(_LITTLE)
        if provisional is not None:
            follow(provisional, rows, episode)
        for row, at in zip(rows, times.tolist(), strict=True):
            learner.add(row, at, drifting=episode.active)
        if learner.due == "provisional":
            provisional = fitted(learner.reference(), window, WEEK, seed)
            learner.no_provisional()
        elif learner.due is not None:
            return learner.reference()


def follow(detector: OnlineMMD, rows: Any, episode: Episode) -> tuple[int, int, int]:
    """Tests made, episodes begun, and tests that lie in one."""
    scores = detector.update(rows)
    statistics = scores.test_stat[~np.isnan(scores.test_stat)]
    if not episode.active and not (statistics > scores.threshold).any():
        return statistics.size, 0, 0
    begun = inside = 0
    for statistic in statistics.tolist():
        begun += episode.step(statistic, scores.threshold)
        inside += episode.active
    return statistics.size, begun, inside


def clean(detector: OnlineMMD, stream: Source, seconds: float) -> dict[str, float]:
    """A period without drift: tests, episodes, share of tests in one, and how far the verdict is trusted."""
    episode, until = Episode(detector.windows[-1]), stream.clock + seconds
    tests = episodes = inside = chunks = trusted = 0
    while stream.clock < until:
        made, begun, within = follow(detector, stream.take(_CHUNK)[0], episode)
        tests, episodes, inside = tests + made, episodes + begun, inside + within
        chunks, trusted = chunks + 1, trusted + detector.dependence.ok
    return {
        "tests": tests,
        "episodes": episodes,
        "inside": inside / tests,
        "trusted": trusted / chunks,
        "worth": float(detector.dependence.effective_sample_ratio[-1]),
    }


def copied(detector: OnlineMMD) -> OnlineMMD:
    with tempfile.TemporaryDirectory() as folder:
        detector.save(f"{folder}/detector.npz")
        return OnlineMMD.load(f"{folder}/detector.npz", device="cpu")


def delays(detector: OnlineMMD, stream: Source, runs: int) -> dict[str, list[int]]:
    """Observations until each drift is seen, begun at ``runs`` hours spread over the day."""
    found: dict[str, list[int]] = {name: [] for name in stream.DRIFTS}
    for number in range(runs):
        begun, tested = copy.deepcopy(stream), copied(detector)
        begun.rng = np.random.default_rng([number, 104])
        begun.clock += DAY * number / runs
        tested.update(begun.take(20 * detector.windows[-1])[0])
        for name, each in found.items():
            drifted, drifting = copy.deepcopy(begun), copied(tested)
            drifted.drift = name
            waited, loud = 0, np.zeros(0, dtype=np.intp)
            while waited < MOST and not loud.size:
                loud = np.flatnonzero(drifting.update(drifted.take(_LITTLE)[0]).is_drift)
                waited += int(loud[0]) + 1 if loud.size else _LITTLE
            each.append(waited if loud.size else MOST + 1)
    return found


def measure(name: str, plan: str, seed: int, days: float, runs: int) -> dict[str, Any]:
    window, make = STREAMS[name]
    stream = make(seed)
    reference = learn(stream, PLANS[plan], window, seed)
    detector, louder = (fitted(reference, window, expected, seed) for expected in (WEEK, MANY))
    week = clean(detector, stream, days * DAY)
    day = clean(louder, copy.deepcopy(stream), min(days, 1.0) * DAY)
    return {
        "stream": name,
        "plan": plan,
        "seed": seed,
        "window": window,
        "block": reference.origin.block,
        "rows": reference.origin.rows,
        "threshold": detector.threshold,
        "week": week,
        "day": day,
        "delays": delays(detector, stream, runs),
    }


def tables(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| stream | W | reference | tests | episodes; expected at one in 3,024,000 | of the tests in one "
        "| tests at R = 10,000 | episodes; expected | of the tests in one | one observation is worth "
        "| `dependence.ok` |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        week, day = r["week"], r["day"]
        lines.append(
            f"| {r['stream']} | {r['window']} | {r['plan']} | {week['tests']:,} | {week['episodes']}; "
            f"{week['tests'] / WEEK:.1f} | {week['inside']:.2%} | {day['tests']:,} | {day['episodes']}; "
            f"{day['tests'] / MANY:.0f} | {day['inside']:.1%} | {week['worth']:.2f} | {week['trusted']:.0%} |"
        )
    lines += [
        "",
        "| stream | reference | drift | observations until it is seen: mean | least and most | not seen |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        for name, waited in r["delays"].items():
            missed = sum(w > MOST for w in waited)
            lines.append(
                f"| {r['stream']} | {r['plan']} | {name} | {np.mean(waited):,.0f} | {min(waited):,} to "
                f"{max(waited):,} | {missed} of {len(waited)} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--streams", nargs="+", default=list(STREAMS), choices=STREAMS)
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=PLANS)
    parser.add_argument("--days", type=float, default=7.0, help="without drift")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=int, default=12, help="drifts of each kind")
    parser.add_argument("--resume", type=Path, help="figures as JSON lines: read at the start, added to")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if options.short:
        options.days, options.runs, options.plans = 0.05, 2, ["first 2,000"]
    results = []
    if options.resume and options.resume.exists():
        results = [json.loads(line) for line in options.resume.read_text().splitlines()]
    have = {(r["stream"], r["plan"], r["seed"]) for r in results}
    for seed in range(options.seeds):
        for name in options.streams:
            for plan in options.plans:
                if (name, plan, seed) in have:
                    continue
                started = time.perf_counter()
                results.append(measure(name, plan, seed, options.days, options.runs))
                print(results[-1], f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
                if options.resume:
                    with options.resume.open("a") as file:
                        file.write(json.dumps(results[-1]) + "\n")
    results.sort(key=lambda r: (list(STREAMS).index(r["stream"]), list(PLANS).index(r["plan"]), r["seed"]))
    text = "\n".join(
        [
            "# Real sequences",
            "",
            f"Made by `python -m benchmarks.sequences --days {options.days:g} --seeds {options.seeds}`: "
            f"{RATE:g} rows a second at most.",
            "",
            *tables(results),
            "",
        ]
    )
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

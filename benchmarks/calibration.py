"""What a calibration costs and how well it is met, beside alibi-detect's: one process, one thread.

``.venv-alibi/bin/python -m benchmarks.calibration`` takes about ten minutes. N = 2000, d = 128, W = 50. For
each reference, in turn: alibi-detect for a run length of 1,000 with 10,000 bootstraps, ours for 1,000, ours
for 1,000,000. Then both detectors for 1,000 follow one long stream without drift, and the measured run
length says what the calibration was worth.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.run_length_alibi import follow, give_memory_back
from benchmarks.streams import mean_run_length, population
from exporter.detectors import OnlineMMD

N, D, W = 2000, 128, 50
RUN_LENGTH, LONG = 1000, 1_000_000
BOOTSTRAPS = 10_000
TARGET_SPEED, TARGET_LONG = 50.0, 2.0
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(clock: Callable[[], float], make: Callable[[], Any]) -> tuple[Any, float]:
    """What ``make`` gives, and the seconds that it took."""
    start = clock()
    made = make()
    return made, clock() - start


def measure(seed: int, runs: int, bootstraps: int, clock: Callable[[], float]) -> dict[str, float]:
    """One reference: three calibrations, two run lengths."""
    import torch
    from alibi_detect.cd import MMDDriftOnline

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    source = population("gaussian", D)
    rng = np.random.default_rng(seed)
    reference = source.draw(rng, N)
    theirs, their_seconds = timed(
        clock,
        lambda: MMDDriftOnline(
            reference,
            ert=RUN_LENGTH,
            window_size=W,
            backend="pytorch",
            n_bootstraps=bootstraps,
            verbose=False,
        ),
    )
    ours, our_seconds = timed(clock, lambda: _fit(reference, RUN_LENGTH, seed))
    _, long_seconds = timed(clock, lambda: _fit(reference, LONG, seed))
    stream = source.draw(rng, runs * RUN_LENGTH)
    threshold = float(theirs._detector.thresholds[-1])
    their_length, _ = mean_run_length(follow(theirs, stream)[W:], threshold, W)
    statistic = ours.update(stream).uncorrected_by_window[W:, 0]
    our_length, _ = mean_run_length(statistic, float(ours.thresholds[0]), W)
    return {
        "their seconds": their_seconds,
        "our seconds": our_seconds,
        "long seconds": long_seconds,
        "their length": their_length,
        "our length": our_length,
    }


def _fit(reference: Any, run_length: float, seed: int) -> OnlineMMD:
    return OnlineMMD.fit(reference, window=W, expected_run_length=run_length, seed=seed, device="cpu")


def report(found: list[dict[str, float]], bootstraps: int) -> str:
    """The table, in Markdown."""

    def median(name: str) -> float:
        return statistics.median(one[name] for one in found)

    def off(name: str) -> float:
        """Typical factor between measured and expected run length."""
        return math.exp(statistics.mean(abs(math.log(one[name] / RUN_LENGTH)) for one in found))

    def lengths(name: str) -> str:
        return ", ".join(f"{one[name] / RUN_LENGTH:.2f}" for one in found)

    faster = statistics.median(one["their seconds"] / one["our seconds"] for one in found)
    longer = statistics.median(one["long seconds"] / one["our seconds"] for one in found)
    theirs, ours = off("their length"), off("our length")
    lines = [
        "| calibration | seconds | ratio | measured / expected run length | off by a factor of |",
        "|---|---|---|---|---|",
        f"| alibi-detect 0.13.0, R = {RUN_LENGTH:,}, {bootstraps:,} bootstraps "
        f"| {median('their seconds'):.1f} | 1 | {lengths('their length')} | {theirs:.2f} |",
        f"| ours, R = {RUN_LENGTH:,} | {median('our seconds'):.2f} | {faster:.0f} times faster | "
        f"{lengths('our length')} | {ours:.2f} |",
        f"| ours, R = {LONG:,} | {median('long seconds'):.2f} | {longer:.2f} of R = {RUN_LENGTH:,} | | |",
        "",
    ]
    failures = []
    if faster < TARGET_SPEED:
        failures.append(f"{faster:.0f} times faster, target {TARGET_SPEED:g}")
    if longer > TARGET_LONG:
        failures.append(f"R = {LONG:,} takes {longer:.1f} times as long, at most {TARGET_LONG:g} is allowed")
    if ours > theirs * 1.05:
        failures.append(f"off by {ours:.2f} against {theirs:.2f}")
    lines.append("All targets met." if not failures else "Missed: " + "; ".join(failures) + ".")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--runs", type=int, default=300, help="length of the stream, in run lengths")
    parser.add_argument("--bootstraps", type=int, default=BOOTSTRAPS)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu where others use the machine")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    give_memory_back()
    clock = CLOCKS[arguments.clock]
    with threadpool_limits(1):
        _fit(population("gaussian", D).draw(np.random.default_rng(99), N), RUN_LENGTH, 0)  # warms up
        found = [
            measure(seed, arguments.runs, arguments.bootstraps, clock) for seed in range(arguments.references)
        ]
    print(report(found, arguments.bootstraps))


if __name__ == "__main__":
    main()

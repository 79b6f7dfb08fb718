"""What a sample costs: our engine beside alibi-detect's online MMD, in one process, on one thread.

``.venv-alibi/bin/python -m benchmarks.engine_speed`` takes about three minutes. N = 1000, d = 1280, W = 50.
Rounds alternate between alibi-detect, our engine at each batch size, and a plain float32 matrix product
of the size of our largest batch, which says what the machine can do. Everything is measured at the start
and again after a million samples: ours after having taken them, alibi-detect with its arrays of
statistics and verdicts grown to a million entries by hand, since taking them would need half an hour.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from exporter.detectors import OnlineMMD

N, D, W = 1000, 1280, 50
BATCHES = (1, 8, 64, 256)
TARGETS = {1: 2.0, 8: None, 64: 40.0, 256: 50.0}
MAX_GROWTH, MAX_MEMORY_MB = 1.05, 5.0


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Subjects:
    """Both detectors on one reference, and data to give them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        import torch
        from alibi_detect.cd import MMDDriftOnline

        self.clock = clock
        torch.set_num_threads(1)
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        self.reference = rng.standard_normal((N, D), dtype=np.float32)
        self.stream = rng.standard_normal((4096, D), dtype=np.float32)
        self.ours = OnlineMMD.fit(self.reference, window=W, expected_run_length=10_000, seed=0, device="cpu")
        self.theirs: Any = MMDDriftOnline(
            self.reference, ert=200, window_size=W, backend="pytorch", n_bootstraps=1000, verbose=False
        )
        self.left = np.ascontiguousarray(self.stream[: BATCHES[-1]])

    def measure(self, most: int) -> dict[str, float]:
        """One round: seconds a sample of each, and the seconds of one multiply-add in a matrix product."""
        found = {"alibi": self._time(lambda: self._theirs(most // 8), most // 8)}
        for batch in BATCHES:
            samples = most if batch > 1 else most // 4
            found[f"ours {batch}"] = self._time(lambda b=batch, s=samples: self._ours(b, s), samples)
        operations = 2.0 * N * D * BATCHES[-1]
        repeats = max(1, most // BATCHES[-1])
        found["gemm"] = self._time(lambda: self._product(repeats), repeats) / operations
        return found

    def _time(self, run: Callable[[], None], samples: int) -> float:
        start = self.clock()
        run()
        return (self.clock() - start) / samples

    def feed(self, samples: int) -> None:
        """Let ours take so many samples."""
        self._ours(BATCHES[-1], samples)

    def grow_theirs(self, samples: int) -> None:
        """Give alibi-detect's arrays the length that they have after so many samples."""
        inner = self.theirs._detector
        inner.test_stats = np.zeros(samples)
        inner.drift_preds = np.zeros(samples)

    def _theirs(self, samples: int) -> None:
        for row in self.stream[:samples]:
            self.theirs.predict(row)

    def _ours(self, batch: int, samples: int) -> None:
        for start in range(0, samples, batch):
            low = start % (self.stream.shape[0] - batch + 1)
            self.ours.update(self.stream[low : low + batch])

    def _product(self, repeats: int) -> None:
        right: NDArray[np.float32] = self.reference.T
        for _ in range(repeats):
            self.left @ right


def median_of(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(found[name] for found in rounds)


def report(start: list[dict[str, float]], later: list[dict[str, float]], memory: float, samples: int) -> str:
    """The table, in Markdown. Ratios are medians of the rounds' ratios."""
    theirs = median_of(start, "alibi"), median_of(later, "alibi")
    lines = [
        f"| microseconds a sample | first | after {samples:,} | alibi / ours, first | after {samples:,} | "
        "share of sgemm | target |",
        "|---|---|---|---|---|---|---|",
        f"| alibi-detect 0.13.0 (batch 1) | {theirs[0] * 1e6:.0f} | {theirs[1] * 1e6:.0f} | | | | |",
    ]
    failures = []
    for batch in BATCHES:
        name = f"ours {batch}"
        costs = median_of(start, name), median_of(later, name)
        ratios = [statistics.median(r["alibi"] / r[name] for r in rounds) for rounds in (start, later)]
        # A sample needs 2 N d operations for its witness and 2 (W + b) d for its window, at least.
        operations = 2.0 * D * (N + W + batch)
        share = statistics.median(operations * r["gemm"] / r[name] for r in start)
        target = TARGETS[batch]
        if target is not None and min(ratios) < target:
            failures.append(f"batch {batch}: {min(ratios):.1f} times, target {target:g}")
        growth = costs[1] / costs[0]
        if batch == BATCHES[-1] and growth > MAX_GROWTH:
            failures.append(f"cost grew by {growth - 1:.1%}, at most {MAX_GROWTH - 1:.0%} is allowed")
        lines.append(
            f"| ours, batch {batch} | {costs[0] * 1e6:.1f} | {costs[1] * 1e6:.1f} | {ratios[0]:.1f} | "
            f"{ratios[1]:.1f} | {share:.0%} | {'' if target is None else f'{target:g}'} |"
        )
    rate = 1.0 / median_of(start, "gemm") / 1e9
    lines += [
        "",
        f"Float32 matrix product here: {rate:.1f} GFLOP/s on one thread. Memory after {samples:,} samples: "
        f"{memory:+.1f} MB.",
    ]
    if memory > MAX_MEMORY_MB:
        failures.append(f"memory grew by {memory:.1f} MB, at most {MAX_MEMORY_MB:g} is allowed")
    lines += ["", "All targets met." if not failures else "Missed: " + "; ".join(failures) + "."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--most", type=int, default=2048, help="samples in one measurement of ours")
    parser.add_argument("--samples", type=int, default=1_000_000, help="what is taken in between")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu where others use the machine")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    subjects = Subjects(CLOCKS[arguments.clock])
    with threadpool_limits(1):
        subjects.measure(arguments.most)  # warms caches and allocators
        start = [subjects.measure(arguments.most) for _ in range(arguments.rounds)]
        before = resident_mb()
        subjects.feed(arguments.samples)
        memory = resident_mb() - before
        subjects.grow_theirs(arguments.samples)
        later = [subjects.measure(arguments.most) for _ in range(arguments.rounds)]
    print(report(start, later, memory, arguments.samples))


if __name__ == "__main__":
    main()

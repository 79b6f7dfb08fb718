"""Do false alarms come as rarely as asked? Measured mean run length over the expected one.

    python -m benchmarks.run_length --out docs/figures/run_length.md

Every cell is a detector fitted to 1,000 rows and run on an endless stream of the same population
that never repeats them. A run is counted in tests from the first full window to the first alarm;
after an alarm the window starts anew. ``--short`` takes a minute and shows that the script works.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import POPULATIONS, batches, mean_run_length, population
from exporter.detectors import OnlineMMD

WINDOWS = (10, 25, 50)
EXPECTED = (300, 1_000, 10_000, 100_000)
BOUNDS = {300: (0.8, 1.25), 1_000: (0.8, 1.25), 10_000: (0.8, 1.25), 100_000: (0.5, 2.0)}


def statistics(detector: OnlineMMD, name: str, rng: np.random.Generator, total: int) -> NDArray[np.float32]:
    """(total, k) statistic of each window along one stream."""
    out = np.empty((total, len(detector.windows)), dtype=np.float32)
    start = 0
    for batch in batches(population(name), rng, total):
        out[start : start + len(batch)] = detector.update(batch).test_stat_by_window
        start += len(batch)
    return out


def measure(
    name: str, seed: int, rows: int, total: int, expected: tuple[int, ...]
) -> dict[tuple[str, int], tuple[float, int]]:
    """Ratio and number of alarms for each window (or all together) and expected run length."""
    rng = np.random.default_rng([2024, seed])
    reference = population(name).draw(rng, rows)
    shared = OnlineMMD.fit(reference, window=WINDOWS, seed=seed)
    stats = statistics(shared, name, rng, total)[WINDOWS[-1] - 1 :]
    out = {}
    for run_length in expected:
        for column, window in enumerate(WINDOWS):
            single = OnlineMMD.fit(reference, window=window, expected_run_length=run_length, seed=seed)
            mean, alarms = mean_run_length(stats[:, column], single.threshold, window)
            out[str(window), run_length] = (mean / run_length, alarms)
        joint = OnlineMMD.fit(reference, window=WINDOWS, expected_run_length=run_length, seed=seed)
        largest = (stats / joint.thresholds.astype(np.float32)).max(axis=1)
        mean, alarms = mean_run_length(largest, 1.0, WINDOWS[-1])
        out["10+25+50", run_length] = (mean / run_length, alarms)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10_000_000, help="stream for each reference")
    parser.add_argument("--populations", nargs="+", default=POPULATIONS, choices=POPULATIONS)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    samples = 200_000 if options.short else options.samples
    expected = tuple(r for r in EXPECTED if r * 25 <= samples)
    started = time.perf_counter()
    lines = [
        f"Measured mean run length / expected, N = {options.rows}, {samples:,} observations for each of "
        f"{options.references} references; the geometric mean over them, and each of them in brackets. "
        "A cell rests on about (observations / R) alarms for each reference. "
        "Bold: the mean is outside 0.8 to 1.25 (0.5 to 2 for R = 100,000).",
        "",
        "| data | window | " + " | ".join(f"R = {r:,}" for r in expected) + " |",
        "|---|---|" + "---|" * len(expected),
    ]
    inside = cells = 0
    for name in options.populations:
        results = []
        for seed in range(options.references):
            results.append(measure(name, seed, options.rows, samples, expected))
            print(f"{name} {seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        for window in (*map(str, WINDOWS), "10+25+50"):
            row = []
            for run_length in expected:
                ratios = [result[window, run_length][0] for result in results]
                mean = float(np.exp(np.mean(np.log(ratios))))
                low, high = BOUNDS[run_length]
                cells += 1
                inside += low <= mean <= high
                text = f"{mean:.2f}" if low <= mean <= high else f"**{mean:.2f}**"
                row.append(f"{text} ({', '.join(f'{r:.2f}' for r in ratios)})")
            lines.append(f"| {name} | {window} | " + " | ".join(row) + " |")
        text = "\n".join([*lines, "", f"{inside} of {cells} means are inside."]) + "\n"
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Thresholds for a week at five tests a second rest on a fitted tail: is it right so far out?

``python -m benchmarks.far_tail --out docs/figures/far_tail.md``. For each reference the threshold is found as
in ``OnlineMMD.fit``, from at most 60,000 simulated runs, then many more runs, in which it is exceeded some
twenty times, say how long the run length at that threshold is. A window of 10 and 200 rows are
small enough for that; what is tested is the tail, which does not depend on them.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from benchmarks.streams import population
from exporter.detectors.mmd.calibration import calibrate
from exporter.detectors.mmd.kernel import Scaling, kernel_matrix, median_bandwidth
from exporter.detectors.mmd.simulation import simulate

ROWS, WINDOW = 200, 10
RUN_LENGTHS = (30_000.0, 3_024_000.0)
CHUNK = 60_000


def measure(name: str, seed: int, runs: int) -> list[tuple[float, int]]:
    """For each run length, that of the many runs over it, and how often they exceeded."""
    rng = np.random.default_rng([2026, seed])
    reference = population(name).draw(rng, ROWS).astype(np.float64)
    _, rows = Scaling.of(reference, median_bandwidth(reference - reference.mean(axis=0), rng), "cpu")
    kernel = kernel_matrix(rows.z, rows.squared_norm)
    fitted = [calibrate(kernel, (WINDOW,), r, rng) for r in RUN_LENGTHS]
    length = fitted[0][1].run_length
    chunks = [simulate(kernel, (WINDOW,), length, CHUNK, rng).maxima for _ in range(runs // CHUNK)]
    maxima = np.concatenate(chunks)[:, 0]
    found = []
    for run_length, (thresholds, _) in zip(RUN_LENGTHS, fitted, strict=True):
        above = int((maxima > thresholds[0]).sum())
        found.append((length * maxima.size / max(1, above) / run_length, above))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--runs", type=int, default=1_200_000)
    parser.add_argument("--populations", nargs="+", default=["gaussian", "skewed"])
    options = parser.parse_args()
    lines = [
        f"Run length counted in {options.runs:,} runs, over the one that the threshold was calibrated for; "
        f"N = {ROWS}, W = {WINDOW}; the geometric mean over references, each of them, and alarms in all.",
        "",
        "| data | " + " | ".join(f"R = {r:,.0f}" for r in RUN_LENGTHS) + " |",
        "|---|" + "---|" * len(RUN_LENGTHS),
    ]
    for name in options.populations:
        results = []
        for seed in range(options.references):
            results.append(measure(name, seed, options.runs))
            print(name, seed, results[-1], file=sys.stderr, flush=True)
        cells = []
        for column in range(len(RUN_LENGTHS)):
            ratios = [result[column][0] for result in results]
            mean = math.exp(float(np.mean(np.log(ratios))))
            alarms = sum(result[column][1] for result in results)
            cells.append(f"{mean:.2f} ({', '.join(f'{r:.2f}' for r in ratios)}); {alarms}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Do false alarms come as rarely as asked where the stream is not independent? And what does that cost?

    python -m benchmarks.dependence --out docs/figures/dependence.md

The first table: measured mean run length over the expected one, as ``update`` gives the verdicts, with
what it learns of the stream, and beside it the same without correction. Runs are counted as in
``benchmarks/run_length.py``, from the stream's very first full window on: also those while nothing is known
yet. The second: delay at an equal measured run length, as in ``benchmarks/delay.py``, corrected and not,
after the stream has been learned. ``--short`` takes a minute and shows that the script works.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import DEPENDENT, Dependent, dependent, mean_run_length
from exporter.detectors import OnlineMMD

D, N = 12, 1000
LEARNED = 24_000  # observations before the delays are measured
AFTER = 1500
SHIFTS = (0.25, 0.5, 1.0)


def statistics(
    detector: OnlineMMD, rows: NDArray[np.float32], size: int = 2048
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest ratio to the threshold at each row, with correction and without; NaN where none was tested."""
    corrected, plain = [], []
    for start in range(0, len(rows), size):
        scores = detector.update(rows[start : start + size])
        assert scores.uncorrected_by_window is not None
        for kept, values in ((corrected, scores.test_stat_by_window), (plain, scores.uncorrected_by_window)):
            kept.append((values / scores.threshold_by_window).max(axis=1))
    return np.concatenate(corrected), np.concatenate(plain)


def ratios(
    source: Dependent, run_length: int, windows: tuple[int, ...], seed: int, samples: int
) -> tuple[float, float, int, float]:
    """Ratio with correction and without, alarms, and the last effective sample ratio."""
    rng = np.random.default_rng([55, seed])
    detector = OnlineMMD.fit(
        source.reference(rng, N), window=windows, expected_run_length=run_length, seed=seed, device="cpu"
    )
    corrected, plain = (
        found[~np.isnan(found)] for found in statistics(detector, source.stream(rng, samples))
    )
    mean, alarms = mean_run_length(corrected, 1.0, windows[-1])
    without, _ = mean_run_length(plain, 1.0, windows[-1])
    worth = float(detector.dependence.effective_sample_ratio[-1])
    return mean / run_length, without / run_length, alarms, worth


def table(options: argparse.Namespace, windows: tuple[int, ...]) -> list[str]:
    name = ", ".join(map(str, windows))
    lines = [f"| W = {name} | " + " | ".join(f"R = {r:,} | without | alarms" for r in options.expected)]
    lines[0] += " | one observation is worth |"
    lines.append("|---|" + "---|" * (3 * len(options.expected) + 1))
    for kind in options.streams:
        cells = []
        for run_length in options.expected:
            found = [
                ratios(dependent(kind, D), run_length, windows, seed, options.samples)
                for seed in range(options.references)
            ]
            corrected = [f[0] for f in found]
            mean, without = (float(np.exp(np.mean(np.log([f[i] for f in found])))) for i in (0, 1))
            inside = 0.5 <= mean <= 2.5
            text = f"{mean:.2f}" if inside else f"**{mean:.2f}**"
            cells += [f"{text} ({min(corrected):.2f} to {max(corrected):.2f})", f"{without:.3f}"]
            cells.append(str(sum(f[2] for f in found)))
        cells.append(f"{np.mean([f[3] for f in found]):.2f}")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def threshold_for(values: NDArray[np.float64], run_length: float, window: int) -> float:
    """The threshold whose measured mean run length is ``run_length``."""
    low, high = float(np.quantile(values, 0.5)), float(values.max())
    for _ in range(40):
        middle = 0.5 * (low + high)
        shorter = mean_run_length(values, middle, window)[0] < run_length
        low, high = (middle, high) if shorter else (low, middle)
    return high


def delay_table(options: argparse.Namespace, windows: tuple[int, ...]) -> list[str]:
    """Mean delays to shifts of all dimensions, both ways at the same measured run length."""
    lines = [
        f"| W = {', '.join(map(str, windows))} | "
        + " | ".join(f"+{s:g} sigma | without" for s in SHIFTS)
        + " |"
    ]
    lines.append("|---|" + "---|" * (2 * len(SHIFTS)))
    for kind in options.streams:
        source = dependent(kind, D)
        rng = np.random.default_rng(77)
        detector = OnlineMMD.fit(source.reference(rng, N), window=windows, expected_run_length=1000, seed=0)
        null = statistics(detector, source.stream(rng, options.null))
        least = [threshold_for(v[LEARNED:][~np.isnan(v[LEARNED:])], 1000, windows[-1]) for v in null]
        detector.save(options.state)
        cells = []
        for shift in SHIFTS:
            found: list[list[int]] = [[], []]
            for number in range(options.repeats):
                learned = OnlineMMD.load(options.state, device="cpu")
                rows = source.stream(np.random.default_rng([78, number]), 300 + AFTER)
                rows[300:] += np.float32(shift) * source.std
                values = statistics(learned, rows)
                for way, threshold, delays in zip(values, least, found, strict=True):
                    above = way[-AFTER:] > threshold
                    delays.append(int(np.argmax(above)) + 1 if above.any() else AFTER + 1)
            cells += [f"{np.mean(delays):.0f}" for delays in found]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--state", type=Path, default=Path("/tmp/benchmarks-dependence.npz"))
    parser.add_argument("--streams", nargs="+", default=list(DEPENDENT), choices=DEPENDENT)
    parser.add_argument("--references", type=int, default=10)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--null", type=int, default=124_000)
    parser.add_argument("--repeats", type=int, default=60, help="changes of each size")
    parser.add_argument("--only", choices=("ratios", "delays"))
    parser.add_argument("--expected", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if options.short:
        options.references, options.samples, options.null, options.repeats = 1, 10_000, 34_000, 3
    started = time.perf_counter()
    lines = []
    if options.only != "delays":
        lines += [
            f"Measured mean run length / expected: N = {N}, d = {D}, {options.samples:,} observations for "
            f"each of {options.references} references, independent rows of the stream's distribution; the "
            "geometric mean, the least and the largest of them, and the alarms behind them. *Without*: not "
            "corrected. Bold: outside 0.5 to 2.5.",
            "",
            *table(options, (50,)),
            "",
        ]
    if options.only != "ratios":
        lines += [
            "Observations from a shift of all dimensions to its detection, at a measured run length of "
            f"1,000 for both; {options.repeats} changes each, the stream learned over {options.null:,} "
            "observations; "
            f"those that were not seen count as {AFTER + 1:,}.",
            "",
            *delay_table(options, (50,)),
            "",
            *delay_table(options, (10, 50, 250)),
        ]
    text = "\n".join(lines) + "\n"
    print(text)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

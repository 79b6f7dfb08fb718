"""The peers on streams that are not independent: alibi-detect's online MMD and the online kernel CUSUM.

    .venv-alibi/bin/python -m benchmarks.dependence_peers

The streams, the counting of runs and the delays are those of ``benchmarks/dependence.py``, and all three
see the same references and streams. alibi-detect calibrates itself as its documentation advises, for a run
length of 1,000 only: a longer one takes it hours. The kernel CUSUM's threshold has the wanted run length on
independent rows of the same distribution, as its paper assumes. Neither learns from the stream, so one
reference of each distribution serves all its streams. ``--short`` shows that the script works.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.dependence import AFTER, LEARNED, SHIFTS, D, N, statistics, threshold_for
from benchmarks.kernel_cusum import KernelCusum
from benchmarks.run_length_alibi import fit, follow, give_memory_back
from benchmarks.streams import DEPENDENT, Dependent, dependent, mean_run_length
from exporter.detectors import OnlineMMD

W = 50
EXPECTED = (1000, 10_000)
METHODS = ("ours", "alibi-detect", "kernel CUSUM")
SCALED = 20_000  # independent rows that give the kernel CUSUM its variances

Values = NDArray[np.float64]
Rows = NDArray[np.float32]
Follow = Callable[[Rows], Values]


@dataclass(frozen=True)
class Fitted:
    """All methods with one reference; ``thresholds`` of the peers are by expected run length."""

    reference: Rows
    alibi: Any
    cusum: KernelCusum
    alibi_thresholds: dict[int, float]
    cusum_thresholds: dict[int, float]

    @property
    def peers(self) -> dict[str, tuple[Follow, dict[int, float]]]:
        """The statistic of every full window of a stream, and the thresholds."""
        return {
            "alibi-detect": (lambda rows: follow(self.alibi, rows)[W:], self.alibi_thresholds),
            "kernel CUSUM": (self.cusum.statistics, self.cusum_thresholds),
        }


def fitted(source: Dependent, seed: int, run_length: int, independent: int) -> Fitted:
    rng = np.random.default_rng([56, seed])
    reference = source.reference(rng, N)
    ours = OnlineMMD.fit(reference, window=W, expected_run_length=1000, seed=seed, device="cpu")
    start = time.perf_counter()
    alibi = fit(reference, W, run_length, seed)
    print(f"alibi-detect: {time.perf_counter() - start:.0f} s to calibrate", file=sys.stderr, flush=True)
    null = source.reference(rng, independent)
    cusum = KernelCusum(reference, ours.bandwidth, null[:SCALED])
    values = cusum.statistics(null)
    return Fitted(
        reference,
        alibi,
        cusum,
        {run_length: float(alibi._detector.thresholds[-1])},
        {r: threshold_for(values, r, W) for r in EXPECTED},
    )


def ratios(stream: Rows, fits: Fitted, seed: int) -> dict[str, tuple[float, int]]:
    """Measured over expected run length, and alarms, by ``method|run length``."""
    found = {}
    for run_length in EXPECTED:
        detector = OnlineMMD.fit(
            fits.reference, window=W, expected_run_length=run_length, seed=seed, device="cpu"
        )
        corrected, _ = statistics(detector, stream)
        mean, alarms = mean_run_length(corrected[~np.isnan(corrected)], 1.0, W)
        found[f"ours|{run_length}"] = (mean / run_length, alarms)
    for name, (statistic, thresholds) in fits.peers.items():
        values = statistic(stream)
        for run_length, threshold in thresholds.items():
            mean, alarms = mean_run_length(values, threshold, W)
            found[f"{name}|{run_length}"] = (mean / run_length, alarms)
    return found


def delays(source: Dependent, fits: Fitted, options: argparse.Namespace) -> dict[str, list[float]]:
    """Mean delays to each of ``SHIFTS``, every method at a measured run length of 1,000 on that stream."""
    rng = np.random.default_rng(77)
    detector = OnlineMMD.fit(fits.reference, window=W, expected_run_length=1000, seed=0, device="cpu")
    null = source.stream(rng, options.null)
    learned = statistics(detector, null)[0][LEARNED:]
    least = {"ours": threshold_for(learned[~np.isnan(learned)], 1000, W)}
    least |= {name: threshold_for(f(null), 1000, W) for name, (f, _) in fits.peers.items()}
    detector.save(options.state)
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for shift in SHIFTS:
        each: dict[str, list[int]] = {name: [] for name in METHODS}
        for number in range(options.repeats):
            rows = source.stream(np.random.default_rng([78, number]), 300 + AFTER)
            rows[300:] += np.float32(shift) * source.std
            values = {name: f(rows) for name, (f, _) in fits.peers.items()}
            values["ours"] = statistics(OnlineMMD.load(options.state, device="cpu"), rows)[0]
            for name in METHODS:
                above = values[name][-AFTER:] > least[name]
                each[name].append(int(np.argmax(above)) + 1 if above.any() else AFTER + 1)
        for name in METHODS:
            found[name].append(float(np.mean(each[name])))
    return found


def columns(run_length: int) -> list[tuple[str, int]]:
    """Method and expected run length of each column of the first table."""
    return [(m, r) for r in EXPECTED for m in METHODS if m != "alibi-detect" or r == run_length]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--state", type=Path, default=Path("/tmp/benchmarks-dependence-peers.npz"))
    parser.add_argument("--streams", nargs="+", default=list(DEPENDENT), choices=DEPENDENT)
    parser.add_argument("--references", type=int, default=2)
    parser.add_argument("--samples", type=int, default=60_000, help="of each stream, for each reference")
    parser.add_argument("--independent", type=int, default=200_000, help="for the kernel CUSUM's threshold")
    parser.add_argument("--null", type=int, default=64_000)
    parser.add_argument("--repeats", type=int, default=20, help="changes of each size")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    run_length = EXPECTED[0]
    if options.short:
        options.references, options.samples, options.independent = 1, 12_000, 30_000
        options.null, options.repeats, run_length = 34_000, 2, 100
    warnings.filterwarnings("ignore")
    give_memory_back()
    shown = columns(run_length)
    head = [f"{m}, R = {r:,}" for m, r in shown]
    first = [f"| W = {W} | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    head = [f"{m}, +{s:g} sigma" for s in SHIFTS for m in METHODS]
    second = [f"| W = {W} | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    with threadpool_limits(1):
        fits: dict[tuple[bool, int], Fitted] = {}
        for kind in options.streams:
            source, sticky = dependent(kind, D), kind == "sticky clusters"
            found = []
            for seed in range(options.references):
                if (sticky, seed) not in fits:
                    fits[sticky, seed] = fitted(source, seed, run_length, options.independent)
                stream = source.stream(np.random.default_rng([57, seed]), options.samples)
                found.append(ratios(stream, fits[sticky, seed], seed))
            cells = []
            for method, expected in shown:
                key = f"{method}|{expected}"
                mean = float(np.exp(np.mean([np.log(f[key][0]) for f in found])))
                cells.append(f"{mean:.3f} ({sum(f[key][1] for f in found):,})")
            first.append(f"| {kind} | " + " | ".join(cells) + " |")
            print(first[-1], file=sys.stderr, flush=True)
            seen = delays(source, fits[sticky, 0], options)
            cells = [f"{seen[m][i]:.0f}" for i in range(len(SHIFTS)) for m in METHODS]
            second.append(f"| {kind} | " + " | ".join(cells) + " |")
            print(second[-1], file=sys.stderr, flush=True)
    text = "\n".join(
        [
            "# The peers on dependent streams",
            "",
            f"Measured mean run length / expected, and in brackets the alarms behind it: N = {N}, d = {D}, "
            f"{options.samples:,} observations for each of {options.references} references.",
            "",
            *first,
            "",
            "Observations from a shift of all dimensions to its detection, every method at a measured run "
            f"length of 1,000 on that very stream; {options.repeats} changes each; those that were not seen "
            f"count as {AFTER + 1:,}.",
            "",
            *second,
            "",
        ]
    )
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

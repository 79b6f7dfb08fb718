"""The run length that alibi-detect's online MMD reaches, on the populations on which ours is measured.

``.venv-alibi/bin/python -m benchmarks.run_length_alibi --out docs/figures/run_length_alibi.md`` fits it with
N = 1000 and ten bootstraps for each test of the run length, as its documentation advises. Thresholds and
reference split are its own; its statistic is followed over 400 run lengths by the same sums in batches
(its own ``predict`` would take days), which is checked against ``predict`` on the first observations.
Runs are counted as for ours: tests of full windows until a false alarm, then a fresh window.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import POPULATIONS, mean_run_length, population

N = 1000
STREAMS = ("gaussian", "skewed", "clusters", "digits", "heavy")  # seeds each population's data
WINDOWS = (10, 25, 50)
RUN_LENGTHS = (300, 1000)
RUNS = 400
CHECKED = 200
TOLERANCE = 2e-5


def give_memory_back() -> None:
    """Let glibc return large blocks at once, without which alibi-detect's calibration keeps gigabytes.

    At N = 2000 its 15 MB copies leave 6 GB behind after 400 bootstraps, with this 0.2 GB: in the same time.
    """
    mmap_threshold = -3
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(mmap_threshold, 1 << 20)


def fit(reference: NDArray[np.float32], window: int, run_length: int, seed: int) -> Any:
    """alibi-detect's detector, made as its documentation advises."""
    import torch
    from alibi_detect.cd import MMDDriftOnline

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return MMDDriftOnline(
        reference, ert=run_length, window_size=window, backend="pytorch", n_bootstraps=10 * run_length,
        verbose=False,
    )  # fmt: skip


def follow(detector: Any, stream: NDArray[np.float32], chunk: int = 4096) -> NDArray[np.float64]:
    """The detector's statistic after each row of (n, d) ``stream``, its window filled from the reference."""
    inner = detector._detector
    sigma, window = float(inner.kernel.sigma), inner.window_size
    everything = inner.x_ref.numpy().astype(np.float64)
    centre = everything.mean(axis=0)
    scale = 1.0 / (sigma * np.sqrt(2.0))
    x = ((everything[inner.ref_inds.numpy()] - centre) * scale).astype(np.float32)
    start = everything[inner.init_test_inds.numpy()]
    y = ((np.concatenate([start, stream]) - centre) * scale).astype(np.float32)
    x_norm = np.einsum("ij,ij->i", x, x)
    witness = np.empty(y.shape[0])
    pairs = np.zeros(y.shape[0])  # kernel values of each row with the window - 1 rows before it
    back = np.zeros((y.shape[0], window - 1), dtype=np.float32)
    for low in range(0, y.shape[0], chunk):
        rows = y[low : low + chunk]
        exponent = 2.0 * (rows @ x.T) - x_norm - np.einsum("ij,ij->i", rows, rows)[:, None]
        witness[low : low + chunk] = np.exp(np.minimum(exponent, 0.0)).mean(axis=1, dtype=np.float64)
    for lag in range(1, window):
        difference = y[lag:] - y[:-lag]
        back[lag:, lag - 1] = np.exp(-np.einsum("ij,ij->i", difference, difference))
    # Row t brings its pairs with the rows before it; a row that leaves takes those with the rows after.
    pairs = back.sum(axis=1, dtype=np.float64)
    ahead = np.zeros(y.shape[0])
    for lag in range(1, window):
        ahead[:-lag] += back[lag:, lag - 1]
    inside = np.cumsum(pairs)
    inside[window:] -= np.cumsum(ahead)[:-window]
    total = np.concatenate([[0.0], np.cumsum(witness)])
    c = (total[window:] - total[:-window]) / window
    b = 2.0 * inside[window - 1 :] / (window * (window - 1.0))
    return (float(inner.k_xx_sub_sum) + b - 2.0 * c)[1:]


def measure(name: str, window: int, run_length: int, seed: int, runs: int) -> dict[str, Any]:
    """One reference: fit, check, follow a long stream."""
    source = population(name)
    rng = np.random.default_rng([seed, STREAMS.index(name)])
    reference = source.draw(rng, N)
    start = time.perf_counter()
    detector = fit(reference, window, run_length, seed)
    seconds = time.perf_counter() - start
    stream = source.draw(rng, runs * run_length)
    statistic = follow(detector, stream)
    own = [detector.predict(row)["data"]["test_stat"] for row in stream[:CHECKED]]
    error = float(np.abs(statistic[:CHECKED] - own).max())
    if error > TOLERANCE:
        raise SystemExit(f"{name}, window {window}: the followed statistic is {error:.1e} from predict's")
    mean, alarms = mean_run_length(statistic[window:], float(detector._detector.thresholds[-1]), window)
    return {
        "population": name, "window": window, "run_length": run_length, "reference": seed,
        "measured": mean, "alarms": alarms, "fit_seconds": seconds, "error": error,
    }  # fmt: skip


def report(results: list[dict[str, Any]], runs: int) -> str:
    """The table, in Markdown: one line for each population, window and run length."""
    lines = [
        "# Run lengths of alibi-detect 0.13.0",
        "",
        f"Mean tests to a false alarm over the target, N = {N}, streams of {runs} run lengths, by",
        "reference. Made by `.venv-alibi/bin/python -m benchmarks.run_length_alibi`.",
        "",
        "| population | window | target | measured / target, by reference | mean |",
        "|---|---|---|---|---|",
    ]
    keys = sorted({(POPULATIONS.index(r["population"]), r["window"], r["run_length"]) for r in results})
    for index, window, run_length in keys:
        name = POPULATIONS[index]
        ratios = [
            r["measured"] / run_length
            for r in sorted(results, key=lambda r: r["reference"])
            if (r["population"], r["window"], r["run_length"]) == (name, window, run_length)
        ]
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"| {name} | {window} | {run_length} | {listed} | {statistics.mean(ratios):.2f} |")
    ratios = [r["measured"] / r["run_length"] for r in results]
    within = sum(0.8 <= ratio <= 1.25 for ratio in ratios)
    lines += [
        "",
        f"{within} of {len(ratios)} within 0.8 to 1.25; from {min(ratios):.2f} to {max(ratios):.2f}.",
        "The followed statistic was at most "
        f"{max(r['error'] for r in results):.1e} from that of its own `predict`.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--runs", type=int, default=RUNS, help="length of each stream, in run lengths")
    parser.add_argument("--windows", type=int, nargs="+", default=WINDOWS)
    parser.add_argument("--run-lengths", type=int, nargs="+", default=RUN_LENGTHS)
    parser.add_argument("--populations", nargs="+", choices=POPULATIONS, default=POPULATIONS)
    parser.add_argument("--out", type=Path, help="the table is written here after every figure")
    parser.add_argument("--resume", type=Path, help="figures as JSON lines: read at the start, added to")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    give_memory_back()
    results: list[dict[str, Any]] = []
    if arguments.resume and arguments.resume.exists():
        results = [json.loads(line) for line in arguments.resume.read_text().splitlines()]
    done = {(r["population"], r["window"], r["run_length"], r["reference"]) for r in results}
    for seed in range(arguments.references):
        for run_length in arguments.run_lengths:
            for window in arguments.windows:
                for name in arguments.populations:
                    if (name, window, run_length, seed) in done:
                        continue
                    result = measure(name, window, run_length, seed, arguments.runs)
                    print(json.dumps(result), flush=True)
                    results.append(result)
                    if arguments.resume:
                        with arguments.resume.open("a") as file:
                            file.write(json.dumps(result) + "\n")
                    if arguments.out:
                        arguments.out.parent.mkdir(parents=True, exist_ok=True)
                        arguments.out.write_text(report(results, arguments.runs))
    print(report(results, arguments.runs))


if __name__ == "__main__":
    main()

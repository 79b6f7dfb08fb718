"""How many observations until drift is seen? Mean delay, at equal measured run length.

    python -m benchmarks.delay --out docs/figures/delay.md

One window, several windows at once and the online kernel CUSUM share reference, bandwidth and
streams. Each one's threshold is set on a null stream so that its measured mean run length is R; then
a change comes after 250 observations. ``--short`` takes a minute and shows that the script works.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_cusum import KernelCusum
from benchmarks.streams import Population, mean_run_length, population
from exporter.detectors import OnlineMMD

BEFORE = 250
SIZES = (0.1, 0.25, 0.5, 1.0)

Rows = NDArray[np.float32]
Change = Callable[[Rows, np.random.Generator], Rows]
Method = Callable[[Rows], NDArray[np.float64]]


def changes(source: Population) -> dict[str, Change]:
    """What happens to the observations after the change; shifts are in standard deviations."""
    std = source.std.astype(np.float32)
    alive = np.flatnonzero(std > 0)
    parts = {"all": alive, "half": alive[: alive.size // 2], "one": alive[:1]}

    def shift(size: float, where: NDArray[np.int64]) -> Change:
        step = np.zeros_like(std)
        step[where] = size * std[where]
        return lambda rows, _rng: rows + step

    def scale(factor: float) -> Change:
        centre = source.draw(np.random.default_rng(998), 20_000).mean(axis=0)
        return lambda rows, _rng: centre + np.float32(factor) * (rows - centre)

    def mixture(share: float) -> Change:
        return lambda rows, rng: rows + 2.0 * std * (rng.random((len(rows), 1)) < share).astype(np.float32)

    out = {f"shift {s:g}, {part} dimensions": shift(s, w) for part, w in parts.items() for s in SIZES}
    out |= {f"scale x {f:g}": scale(f) for f in (0.8, 1.25, 1.5)}
    return out | {f"{share:.0%} of rows shifted by 2": mixture(share) for share in (0.1, 0.3)}


def methods(reference: Rows, null: Rows) -> dict[str, Method]:
    """Statistic per observation of a stream, from the first with a full longest window."""
    out: dict[str, Method] = {}
    bandwidth = None
    for name, window in (("W = 10", 10), ("W = 50", 50), ("W = 10, 50, 250", (10, 50, 250))):
        detector = OnlineMMD.fit(reference, window=window, expected_run_length=1000, seed=0)
        bandwidth = detector.bandwidth

        def statistic(stream: Rows, detector: OnlineMMD = detector) -> NDArray[np.float64]:
            detector.reset()
            return detector.update(stream).test_stat[detector.windows[-1] - 1 :]

        out[name] = statistic
    out["kernel CUSUM, B up to 50"] = KernelCusum(reference, bandwidth, null).statistics
    return out


def threshold_for(statistics: NDArray[np.float64], run_length: float) -> float:
    """The threshold whose measured mean run length is ``run_length``, the window kept after alarms."""
    low, high = np.quantile(statistics, 0.5), statistics.max()
    for _ in range(40):
        middle = 0.5 * (low + high)
        shorter = mean_run_length(statistics, middle, 250)[0] < run_length
        low, high = (middle, high) if shorter else (low, middle)
    return float(high)


def delays(
    method: Method, threshold: float, source: Population, change: Change, streams: int, after: int, seed: int
) -> tuple[float, float, float]:
    """Mean delay, its standard error, and the share of streams in which drift was not seen."""
    found = []
    for number in range(streams):
        rng = np.random.default_rng([seed, number])
        rows = source.draw(rng, BEFORE + after)
        rows[BEFORE:] = change(rows[BEFORE:], rng)
        above = method(rows)[-after:] > threshold
        found.append(int(np.argmax(above)) + 1 if above.any() else after + 1)
    d = np.array(found)
    return float(d.mean()), float(d.std() / np.sqrt(d.size)), float((d > after).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--populations", nargs="+", default=("gaussian", "digits"))
    parser.add_argument("--run-length", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--after", type=int, default=600, help="observations after the change")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    streams = 5 if options.short else options.streams
    null_length = (50 if options.short else 300) * options.run_length
    started = time.perf_counter()
    lines = [
        f"Mean number of observations from the change to its detection, at a measured mean run length of "
        f"{options.run_length:,} for every method (thresholds set on {null_length:,} null observations). "
        f"N = 1000, {streams} streams for each change; streams in which nothing was seen within "
        f"{options.after} observations count as {options.after + 1}, and their share is in brackets. "
        "The least delay is bold.",
        "",
    ]
    for name in options.populations:
        source = population(name)
        rng = np.random.default_rng(77)
        reference, null = source.draw(rng, 1000), source.draw(rng, null_length)
        tested = methods(reference, null[:50_000])
        thresholds = {m: threshold_for(f(null), options.run_length) for m, f in tested.items()}
        lines += [f"| {name} | " + " | ".join(tested) + " |", "|---|" + "---|" * len(tested)]
        for number, (what, change) in enumerate(changes(source).items()):
            row = {
                m: delays(f, thresholds[m], source, change, streams, options.after, number)
                for m, f in tested.items()
            }
            least = min(mean for mean, _, _ in row.values())
            cells = []
            for mean, _, unseen in row.values():
                text = f"**{mean:.1f}**" if mean == least else f"{mean:.1f}"
                cells.append(text + (f" ({unseen:.0%})" if unseen else ""))
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
            print(f"{name}, {what}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        lines.append("")
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

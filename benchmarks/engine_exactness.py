"""How exact is the online statistic? Its error against a direct float64 computation.

    python -m benchmarks.engine_exactness --out docs/figures/engine_exactness.md

A stream of 100,000 observations with an offset of 100 standard deviations is cut in several ways and
given to NumPy, to torch and, where there is one, to a CUDA device. Errors are in units of the
statistic's standard deviation without drift; they have to stay below 1e-5. ``--short`` takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.detectors import OnlineMMD

WINDOW = 50
LEAST = 1e-5
OFFSET = 100.0


def direct(
    x: NDArray[np.float32], stream: NDArray[np.float32], bandwidth: float, piece: int = 2000
) -> NDArray[np.float64]:
    """(n,) statistic of every full window, by its definition, in float64."""
    gamma = 1.0 / (2.0 * bandwidth**2)

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)[None, :]
        return np.exp(-gamma * np.maximum(squares - 2.0 * (a @ b.T), 0.0))

    reference = x.astype(np.float64) - OFFSET
    n, w = reference.shape[0], WINDOW
    a = (kernel(reference, reference).sum() - n) / (n * (n - 1.0))
    out = np.full(stream.shape[0], np.nan)
    for start in range(0, stream.shape[0], piece):
        rows = stream[max(0, start - w + 1) : start + piece].astype(np.float64) - OFFSET
        witness = kernel(rows, reference).mean(axis=1)
        # Summed-area table: the sum over any square of pairs from four of its entries.
        inside = kernel(rows, rows)
        np.fill_diagonal(inside, 0.0)
        area = np.zeros((rows.shape[0] + 1,) * 2)
        area[1:, 1:] = inside.cumsum(axis=0).cumsum(axis=1)
        end = np.arange(w, rows.shape[0] + 1)
        pairs = area[end, end] - area[end - w, end] - area[end, end - w] + area[end - w, end - w]
        mean = np.convolve(witness, np.full(w, 1.0 / w), mode="valid")
        stop = min(start + piece, stream.shape[0])
        out[stop - end.size : stop] = a + pairs / (w * (w - 1.0)) - 2.0 * mean
    return out


def devices() -> list[str]:
    found = ["cpu"]
    try:
        import torch
    except ImportError:
        return found
    return [*found, "torch:cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    samples = 5000 if options.short else options.samples
    lines = [
        f"Largest error of the statistic over {samples:,} observations, N = 1000, W = {WINDOW}, offset of "
        f"{OFFSET:g} standard deviations, drift of 0.3 in the last tenth; in units of the "
        f"statistic's standard deviation without drift. Bound: {LEAST:g}. One at a time: "
        "the first tenth.",
        "",
        "| d | engine | one at a time | batches of 7 | of 64 | of 1,000 | all at once |",
        "|---|---|---|---|---|---|---|",
    ]
    worst = 0.0
    for d in (1, 16, 1280):
        rng = np.random.default_rng(d)
        x = rng.standard_normal((1000, d), dtype=np.float32) + np.float32(OFFSET)
        stream = rng.standard_normal((samples, d), dtype=np.float32) + np.float32(OFFSET)
        stream[-samples // 10 :] += np.float32(0.3)
        for device in devices():
            detector = OnlineMMD.fit(x, window=WINDOW, expected_run_length=1000, seed=0, device=device)
            if device == "cpu":
                expected = direct(x, stream, detector.bandwidth)
                scale = float(np.nanstd(expected[: -samples // 10]))
            row = []
            for size in (1, 7, 64, 1000, samples):
                length = samples // 10 if size == 1 else samples
                detector.reset()
                found = np.concatenate(
                    [
                        detector.update(stream[s : s + size]).uncorrected_by_window[:, 0]
                        for s in range(0, length, size)
                    ]
                )
                row.append(float(np.nanmax(np.abs(found - expected[:length]))) / scale)
            worst = max(worst, *row)
            lines.append(f"| {d} | {device} | " + " | ".join(f"{error:.1e}" for error in row) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    sys.exit(0 if worst < LEAST else 1)


if __name__ == "__main__":
    main()

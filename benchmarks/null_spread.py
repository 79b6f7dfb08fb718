"""Does the statistic spread in the simulation as it does in operation? Standard deviations, over each other.

``python -m benchmarks.null_spread --out docs/figures/null_spread.md``. That in operation follows from
Hoeffding's decomposition and the mean square of centred kernel values, of 3,000 further rows; that of
the simulation is measured over circles of several references. Thresholds are as wrong as these differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.simulation import simulate

DIMENSIONS = (2, 16, 128, 768, 2048)
ROWS = (200, 300, 1000)
WINDOW = 50
LARGE = 3000


def kernel(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float32]:
    """(n, n) kernel values of standard Gaussian rows at half the mean squared distance."""
    x = rng.standard_normal((n, d))
    squared = (x**2).sum(axis=1)
    values = np.exp(np.minimum(2.0 * x @ x.T - squared[:, None] - squared, 0.0) / (2.0 * d))
    np.fill_diagonal(values, 1.0)
    return values.astype(np.float32)


def mean_square(values: NDArray[np.float32]) -> float:
    """Of centred kernel values of different rows."""
    n = len(values)
    off = values.astype(np.float64)
    np.fill_diagonal(off, 0.0)
    means = off.sum(axis=1) / (n - 1)
    off += means.mean() - means[:, None] - means
    np.fill_diagonal(off, 0.0)
    return float((off**2).sum() / (n * (n - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--references", type=int, default=6)
    options = parser.parse_args()
    w = WINDOW
    lines = [
        f"Simulated over operational standard deviation of the statistic, W = {w}, Gaussian rows: mean over "
        f"{options.references} references and its standard error.",
        "",
        "| d | " + " | ".join(f"N = {n:,}" for n in ROWS) + " |",
        "|---|" + "---|" * len(ROWS),
    ]
    for d in DIMENSIONS:
        rng = np.random.default_rng(d)
        square, cells = mean_square(kernel(rng, LARGE, d)), []
        for n in ROWS:
            operational = np.sqrt(square * (2.0 / (w * (w - 1)) + 4.0 / (w * n) + 2.0 / (n * (n - 1))))
            length = min(5 * w, n // 2)
            found = [
                simulate(kernel(rng, n, d), (w,), length, 2000, rng).spaced.std() / operational
                for _ in range(options.references)
            ]
            cells.append(f"{np.mean(found):.3f} ({np.std(found) / np.sqrt(len(found)):.3f})")
        lines.append(f"| {d:,} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

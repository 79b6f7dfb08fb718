"""Ours and alibi-detect's online MMD give the same statistic, where both see the same reference.

``.venv-alibi/bin/python -m benchmarks.alibi_agreement`` takes a minute. alibi-detect keeps a random part of
the reference for its comparison and fills its first window with reference rows. Ours is given that part,
that window and that bandwidth, and both take the same stream, which shifts half-way. The difference is
given in units of float32 precision at 1, since both add up kernel values of 0 to 1.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.streams import POPULATIONS, population
from exporter.detectors import OnlineMMD

CASES = ((300, 10), (1000, 25), (1000, 50))
EPSILON = float(np.finfo(np.float32).eps)
MOST = 16.0  # of EPSILON


def difference(name: str, n: int, window: int, length: int) -> tuple[float, float, int]:
    """Largest difference, largest statistic, and verdicts that would differ at one threshold."""
    import torch
    from alibi_detect.cd import MMDDriftOnline

    torch.set_num_threads(1)
    torch.manual_seed(0)
    source = population(name)
    rng = np.random.default_rng(0)
    reference = source.draw(rng, n)
    theirs = MMDDriftOnline(
        reference, ert=50, window_size=window, backend="pytorch", n_bootstraps=500, verbose=False
    )
    inner = theirs._detector
    ours = OnlineMMD.fit(
        reference[inner.ref_inds.numpy()],
        window=window,
        expected_run_length=1000,
        bandwidth=float(inner.kernel.sigma),
        device="cpu",
        seed=0,
    )
    ours.update(reference[inner.init_test_inds.numpy()])
    stream = source.draw(rng, length)
    stream[length // 2 :] += source.std.astype(np.float32)
    expected = np.array([theirs.predict(row)["data"]["test_stat"] for row in stream])
    given = ours.update(stream).uncorrected_by_window[:, 0]
    threshold = float(inner.thresholds[-1])
    differing = int(np.count_nonzero((expected > threshold) != (given > threshold)))
    return float(np.abs(given - expected).max()), float(np.abs(expected).max()), differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=2000, help="observations in each stream")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(
        "| population | N | W | largest statistic | largest difference | in float32 steps | other verdicts |"
    )
    print("|---|---|---|---|---|---|---|")
    worst = 0.0
    with threadpool_limits(1):
        for name in POPULATIONS:
            for n, window in CASES:
                error, largest, differing = difference(name, n, window, arguments.length)
                worst = max(worst, error / EPSILON)
                print(
                    f"| {name} | {n} | {window} | {largest:.4f} | {error:.1e} | {error / EPSILON:.1f} "
                    f"| {differing} of {arguments.length} |",
                    flush=True,
                )
    verdict = "The same" if worst <= MOST else "NOT the same"
    print(f"\n{verdict} to float32 precision: at most {worst:.1f} steps.")
    raise SystemExit(worst > MOST)


if __name__ == "__main__":
    main()

"""What a sample costs in two versions of the engine, in turn: ``python -m benchmarks.engine_cost OLD NEW``.

Each argument is the root of a checkout (``git worktree add``). One process for each, which alternate
round by round, on one thread; N = 1000, d = 1280, W = 50. Ratios are medians of the rounds' ratios;
processor time, since others may use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO

N, D, W = 1000, 1280, 50
BATCHES = (1, 8, 64, 256)
SAMPLES = 2048


def serve() -> None:
    """In the checkout's own process: a round for each line that is read."""
    import time

    import numpy as np

    from exporter.detectors import OnlineMMD

    rng = np.random.default_rng(0)
    detector = OnlineMMD.fit(rng.standard_normal((N, D), dtype=np.float32), window=W, seed=0, device="cpu")
    stream = rng.standard_normal((4096, D), dtype=np.float32)

    def cost(batch: int) -> float:
        start = time.process_time()
        for first in range(0, SAMPLES, batch):
            low = first % (stream.shape[0] - batch + 1)
            detector.update(stream[low : low + batch])
        return (time.process_time() - start) / SAMPLES

    for _ in sys.stdin:
        sys.stdout.write(json.dumps([cost(batch) for batch in BATCHES]) + "\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trees", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": str(tree.resolve())},
        )
        for tree in options.trees
    ]
    pipes = [(pipe(process.stdin), pipe(process.stdout)) for process in processes]
    rounds = [[ask(*both) for both in pipes] for _ in range(options.rounds + 1)][1:]
    for into, _ in pipes:
        into.close()
    for process in processes:
        process.wait()
    print("| batch | old, microseconds a sample | new | new / old |\n|---|---|---|---|")
    for at, batch in enumerate(BATCHES):
        old, new = ([found[tree][at] for found in rounds] for tree in range(2))
        ratio = statistics.median(n / o for n, o in zip(new, old, strict=True))
        costs = " | ".join(f"{statistics.median(found) * 1e6:.1f}" for found in (old, new))
        print(f"| {batch} | {costs} | {ratio:.2f} |")


def pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


def ask(into: IO[str], out: IO[str]) -> list[float]:
    into.write("\n")
    into.flush()
    return [float(x) for x in json.loads(out.readline())]


if __name__ == "__main__":
    main()

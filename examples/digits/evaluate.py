"""How rarely the detector cries wolf on clean digits, and how soon it sees each kind of drift.

``python -m examples.digits.evaluate`` runs the network and the detector without a service in between,
on far more requests than a demonstration has time for, and prints two tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from examples.digits.images import to_input
from examples.digits.network import DigitNet, load_network
from examples.digits.service import EXPECTED_RUN_LENGTH, WINDOW
from examples.digits.traffic import PHASES, pictures
from examples.digits.train import BUILD, REFERENCE, WEIGHTS, ensure_trained
from exporter.detectors.mmd.online import OnlineMMD

RUN_LENGTHS = (1_000, 10_000, 100_000, EXPECTED_RUN_LENGTH)
CHUNK = 1_000


def embeddings(network: DigitNet, phase: str, count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield the embeddings of ``count`` pictures of a phase, in blocks of up to ``CHUNK`` rows."""
    stream = pictures(phase, seed)
    for start in range(0, count, CHUNK):
        block = np.stack([to_input(p) for p, _ in islice(stream, min(CHUNK, count - start))])
        with torch.inference_mode():
            yield network.embed(torch.from_numpy(block)).numpy()


def false_alarms(detector: OnlineMMD, blocks: list[NDArray[np.float32]]) -> tuple[int, int]:
    """Count tests and alarms; the window is emptied after each alarm, so that none counts twice."""
    detector.reset()
    tests = alarms = 0
    for block in blocks:
        start = 0
        while start < len(block):
            # Small steps: what follows an alarm within a step has to be given again after the reset.
            scores = detector.update(block[start : start + WINDOW])
            hits = np.flatnonzero(scores.is_drift)
            taken = int(hits[0]) + 1 if len(hits) else len(scores.is_drift)
            tests += int(np.isfinite(scores.test_stat[:taken]).sum())
            start += taken
            if len(hits):
                alarms += 1
                detector.reset()
    return tests, alarms


def delays(detector: OnlineMMD, network: DigitNet, phase: str, runs: int) -> NDArray[np.int64]:
    """Requests from the start of a phase to its first drift event, after a window of clean ones."""
    found = []
    for seed in range(runs):
        detector.reset()
        detector.update(next(embeddings(network, "clean", WINDOW, 1_000 + seed)))
        scores = detector.update(next(embeddings(network, phase, 4 * WINDOW, 1_000 + seed)))
        found.append(
            int(np.argmax(scores.is_drift)) + 1 if scores.is_drift.any() else len(scores.is_drift) + 1
        )
    return np.asarray(found)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Measure false alarms and delays of the digits example.")
    parser.add_argument("--requests", type=int, default=100_000, help="clean ones (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=50, help="for each kind of drift (default: %(default)s)")
    parser.add_argument("--artefacts", type=Path, default=BUILD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ensure_trained(arguments.artefacts)
    network = load_network(arguments.artefacts / WEIGHTS)
    with np.load(arguments.artefacts / REFERENCE, allow_pickle=False) as file:
        reference = file["reference"]

    clean = list(embeddings(network, "clean", arguments.requests, seed=11))
    print("| expected run length | threshold | clean tests | alarms | tests per alarm |")
    print("|---:|---:|---:|---:|---:|")
    for run_length in RUN_LENGTHS:
        detector = OnlineMMD.fit(reference, window=WINDOW, expected_run_length=run_length, seed=0)
        tests, alarms = false_alarms(detector, clean)
        each = f"{tests / alarms:,.0f}" if alarms else "none"
        threshold = detector.update(reference[0]).threshold
        print(f"| {run_length:,} | {threshold:.4f} | {tests:,} | {alarms} | {each} |")

    print(f"\n| traffic | median delay | 90th percentile | found in {4 * WINDOW} requests |")
    print("|---|---:|---:|---:|")
    for phase in (p for p in PHASES if p not in ("errors", "drifted")):
        found = delays(detector, network, phase, arguments.runs)
        seen = int((found <= 4 * WINDOW).sum())
        late = [f"{np.percentile(found, q):.0f}" if seen else "-" for q in (50, 90)]
        print(f"| {phase} | {late[0]} | {late[1]} | {seen} of {arguments.runs} |")


if __name__ == "__main__":
    main()

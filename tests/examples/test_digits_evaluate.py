from __future__ import annotations

from pathlib import Path

import numpy as np

from examples.digits.evaluate import delays, embeddings, false_alarms
from examples.digits.network import load_network
from examples.digits.train import WEIGHTS
from exporter.detectors.mmd.online import OnlineMMD


def test_alarms_are_counted_as_if_requests_came_one_by_one() -> None:
    rng = np.random.default_rng(0)
    detector = OnlineMMD.fit(rng.normal(size=(300, 4)), window=20, expected_run_length=60, seed=0)
    stream = rng.normal(size=(1500, 4))
    tests = alarms = 0
    for row in stream:
        scores = detector.update(row)
        tests += int(np.isfinite(scores.test_stat[0]))
        if scores.is_drift[0]:
            alarms += 1
            detector.reset()
    assert alarms > 3
    assert false_alarms(detector, [stream[:700], stream[700:]]) == (tests, alarms)


def test_delays_are_short_for_drift_and_past_the_end_for_none(
    artefacts: Path, digits_detector: OnlineMMD
) -> None:
    network = load_network(artefacts / WEIGHTS)
    assert delays(digits_detector, network, "inverted", 2).max() < 50
    assert delays(digits_detector, network, "clean", 2).tolist() == [201, 201]


def test_embeddings_come_in_blocks(artefacts: Path) -> None:
    network = load_network(artefacts / WEIGHTS)
    assert [block.shape for block in embeddings(network, "clean", 1200, 0)] == [(1000, 64), (200, 64)]

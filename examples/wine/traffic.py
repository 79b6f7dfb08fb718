"""Requests for the wine service: ``python -m examples.wine.traffic --phase unit-mix-up``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from examples.traffic import run_command
from examples.wine.data import load_halves

PHASES = ("clean", "one-cultivar", "unit-mix-up", "errors")
NOISE = 0.05  # of a feature's standard deviation: no two bottles measure alike
BAD_PAYLOADS: tuple[dict[str, Any], ...] = ({}, {"features": [1.0, 2.0]}, {"features": ["red"] * 13})


def payloads(phase: str, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield bodies for ``POST /predict`` without end.

    Parameters
    ----------
    phase
        ``clean``; ``one-cultivar``, where only the first of the three kinds of wine is asked about;
        ``unit-mix-up``, where a laboratory reports proline in g/l and not in mg/l; or ``errors``,
        bodies that must be refused with 422.
    """
    if phase not in PHASES:
        raise ValueError(f"phase {phase!r} is not known; choose one of {', '.join(PHASES)}")
    rng = np.random.default_rng((seed, PHASES.index(phase)))
    _, wines = load_halves()
    chosen = np.flatnonzero(wines.labels == 0) if phase == "one-cultivar" else np.arange(len(wines.labels))
    spread = wines.features.std(axis=0) * NOISE
    proline = wines.feature_names.index("proline")
    while True:
        if phase == "errors":
            yield BAD_PAYLOADS[int(rng.integers(len(BAD_PAYLOADS)))]
            continue
        features = wines.features[rng.choice(chosen)] + rng.normal(0.0, spread)
        if phase == "unit-mix-up":
            features[proline] /= 1000.0
        yield {"features": [round(float(value), 4) for value in features]}


if __name__ == "__main__":
    run_command("Send traffic to the wine example.", PHASES, payloads, "/predict")

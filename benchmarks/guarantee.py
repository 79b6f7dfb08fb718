"""With ``confidence: 0.9``, does the mean run length reach the expected one for nine references in ten?

    python -m benchmarks.guarantee --out docs/figures/guarantee.md

Each reference is of rows of its own, and its detector runs on a stream of the same population that is
long enough for ``--alarms`` false alarms at the expected rate. The share that reaches the expected run
length is counted with and without the confidence, for the same references and streams. A measured run
length has an error of its own, one in the square root of the alarms, which takes shares towards a half.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

from benchmarks.streams import mean_run_length, population
from exporter.detectors import OnlineMMD

POPULATIONS = ("gaussian", "skewed", "clusters", "digits")


def measure(
    name: str, seed: int, rows: int, window: int, run_length: int, confidence: float, alarms: int
) -> dict[str, float]:
    """Ratios of measured to expected run length at 0.5 and at ``confidence``, and what they rest on."""
    source = population(name)
    rng = np.random.default_rng([2025, seed])
    reference = source.draw(rng, rows)
    asked = {"window": window, "expected_run_length": run_length, "seed": seed}
    sure = OnlineMMD.fit(reference, confidence=confidence, **asked)
    average = OnlineMMD.fit(reference, **asked)
    parts = [sure.update(source.draw(rng, 2000)).test_stat for _ in range(alarms * run_length // 2000)]
    statistics = np.concatenate(parts)[window - 1 :]
    lengths = {d: mean_run_length(statistics, d.threshold, window) for d in (average, sure)}
    return {
        "average": lengths[average][0] / run_length,
        "sure": lengths[sure][0] / run_length,
        "alarms": lengths[sure][1],
        "asked": float(sure.report.calibrated_run_length or run_length) / run_length,
        "spread": math.log(average.report.spread),
        "threshold": sure.threshold / average.threshold,
    }


def interval(reached: int, of: int) -> str:
    """Share and its 95 % interval, Wilson's."""
    z, p = 1.96, reached / of
    centre, half = (p + z * z / (2 * of)), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = ((centre + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return f"{p:.2f} ({low:.2f} to {high:.2f})"


def row(name: str, found: list[dict[str, float]]) -> str:
    """One population's line of the table."""
    ratios = {key: np.array([one[key] for one in found]) for key in found[0]}
    n, logs = len(found), np.log(ratios["average"])
    noise = (1.0 / np.maximum(1.0, ratios["alarms"] * ratios["asked"])).mean()
    true = math.sqrt(max(0.0, float(logs.var()) - float(noise)))
    sure = np.log(ratios["sure"])
    noise_sure = (1.0 / np.maximum(1.0, ratios["alarms"])).mean()
    shrink = math.sqrt(max(0.0, 1.0 - noise_sure / max(float(sure.var()), 1e-12)))
    shrunk = sure.mean() + (sure - sure.mean()) * shrink
    cells = [
        name,
        str(n),
        interval(int((ratios["average"] >= 1.0).sum()), n),
        interval(int((ratios["sure"] >= 1.0).sum()), n),
        f"{(shrunk >= 0.0).mean():.2f}",
        f"{np.exp(logs.mean()):.2f}",
        f"{np.exp(sure.mean()):.2f}",
        f"{true:.2f}",
        f"{ratios['spread'].mean():.2f}",
        f"{ratios['asked'].mean():.2f}",
        f"{100 * (ratios['threshold'].mean() - 1):.1f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--references", type=int, default=100)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--window", type=int, default=25)
    parser.add_argument("--run-length", type=int, default=1000)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--alarms", type=int, default=80)
    parser.add_argument("--resume", type=Path, help="figures as JSON lines: read at the start, added to")
    o = parser.parse_args()
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in POPULATIONS}
    if o.resume and o.resume.exists():
        for line in o.resume.read_text().splitlines():
            name, seed, found = json.loads(line)
            results[name][seed] = found
    for seed in range(o.references):
        for name in POPULATIONS:
            if seed in results[name]:
                continue
            found = measure(name, seed, o.rows, o.window, o.run_length, o.confidence, o.alarms)
            results[name][seed] = found
            print(name, seed, {k: round(v, 2) for k, v in found.items()}, file=sys.stderr, flush=True)
            if o.resume:
                with o.resume.open("a") as file:
                    file.write(json.dumps([name, seed, found]) + "\n")
    text = "\n".join(
        [
            f"N = {o.rows}, W = {o.window}, R = {o.run_length:,}, streams of {o.alarms} R, "
            f"confidence {o.confidence:g}.",
            "",
            f"| data | references | share at or above R, confidence 0.5 | with confidence {o.confidence:g} "
            "| the same, counting noise taken out | measured / R at 0.5 "
            f"| at {o.confidence:g} | sd of log run length, noise taken out "
            "| log of `report.spread` | calibrated / R | threshold higher by |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(row(name, list(found.values())) for name, found in results.items() if found),
            "",
        ]
    )
    if o.out:
        o.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

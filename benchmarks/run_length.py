"""Do false alarms come as rarely as asked? Measured mean run length over the expected one.

    python -m benchmarks.run_length --out docs/figures/run_length.md

Every cell is detectors fitted to references of their own and run on endless streams of the same
population that never repeat them. A run is counted in tests from the first full window to the first
alarm; after an alarm the window starts anew. Thresholds for several run lengths come from one
simulation. ``--resume FILE`` keeps what was measured; ``--short`` shows in a minute that it works.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import independent
from benchmarks.streams import Draw, mean_run_length
from exporter.detectors import OnlineMMD
from exporter.detectors.mmd.calibration import Calibrator
from exporter.detectors.mmd.kernel import Scaling, kernel_matrix

EXPECTED = (300, 1_000, 10_000)
THREE = (10, 25, 50)


@dataclass(frozen=True)
class Case:
    """A population, the reference's rows, the windows; thousands of rows of the stream, and the bounds."""

    name: str
    draw: Draw
    rows: int
    windows: tuple[int, ...]
    thousands: int
    low: float = 0.75
    high: float = 1.5
    reference: Draw | None = None


STANDARD = ("gaussian", "skewed", "heavy", "clusters", "digits")
CASES = [
    *(Case(name, independent.named(name), 1000, THREE, 150, 0.8, 1.25) for name in STANDARD),
    Case("gaussian, N = 4 W", independent.gaussian(16), 200, (50,), 100),
    Case("clusters, N = 4 W", independent.named("clusters"), 200, (50,), 100),
    Case("gaussian, N = 4 W", independent.gaussian(16), 1000, (250,), 100),
    Case("gaussian, d = 2", independent.gaussian(2), 1000, (50,), 100),
    Case("gaussian, d = 128", independent.gaussian(128), 1000, (50,), 100),
    Case("gaussian, d = 768", independent.gaussian(768), 300, (50,), 100),
    Case("gaussian, d = 2,048", independent.gaussian(2048), 300, (50,), 60),
    Case("Cauchy", independent.cauchy, 1000, (50,), 100),
    Case("ReLU, dead units", independent.relu, 1000, (50,), 100),
    Case("one-hot of 10", independent.one_hot, 1000, (50,), 100),
    Case("unit norm, d = 768", independent.sphere, 1000, (50,), 60),
    Case(
        "gaussian, a tenth of the reference twice",
        independent.gaussian(16),
        1000,
        (50,),
        100,
        reference=independent.with_duplicates(independent.gaussian(16)),
    ),
]


def measure(case: Case, seed: int, thousands: int) -> dict[str, float]:
    """Ratio for each window (and all together) and each run length that the stream is long enough for."""
    rng = np.random.default_rng([2024, seed])
    reference = (case.reference or case.draw)(rng, case.rows)
    detector = OnlineMMD.fit(
        reference, window=case.windows, expected_run_length=max(300, case.windows[-1]), seed=seed
    )
    _, scaled = Scaling.of(detector.reference, detector.bandwidth, "cpu")
    kernel = kernel_matrix(scaled.z, scaled.squared_norm)
    parts = [detector.update(case.draw(rng, 2000)).test_stat_by_window for _ in range(thousands // 2)]
    statistics = np.concatenate(parts)[case.windows[-1] - 1 :]
    sets = [(w,) for w in case.windows] + ([case.windows] if len(case.windows) > 1 else [])
    expected = [r for r in EXPECTED if r * 10 <= thousands * 1000 and r >= case.windows[-1]]
    found = {}
    for windows in sets:
        runs = Calibrator.simulate(kernel, windows, expected[-1], np.random.default_rng(seed))
        columns = [case.windows.index(w) for w in windows]
        for run_length in expected:
            thresholds, _ = runs.solve(run_length)
            largest = (statistics[:, columns] / thresholds).max(axis=1)
            mean, _ = mean_run_length(largest, 1.0, windows[-1])
            found[f"{'+'.join(map(str, windows))}|{run_length}"] = mean / run_length
    return found


def table(results: dict[str, dict[int, dict[str, float]]], thousands: dict[str, int]) -> str:
    """Geometric and harmonic means over references, the spread between them, and the verdict."""
    lines = [
        "| data | N | window | references | alarms each at R = 10,000 | "
        + " | ".join(f"R = {r:,}" for r in EXPECTED)
        + " |",
        "|---|---|---|---|---|" + "---|" * len(EXPECTED),
    ]
    inside = cells = 0
    for case in CASES:
        found = results.get(_key(case), {})
        if not found:
            continue
        for window in dict.fromkeys(key.split("|")[0] for each in found.values() for key in each):
            row = []
            for run_length in EXPECTED:
                ratios = np.array([e[k] for e in found.values() if (k := f"{window}|{run_length}") in e])
                if not ratios.size:
                    row.append("")
                    continue
                mean, harmonic = float(np.exp(np.log(ratios).mean())), float(1.0 / (1.0 / ratios).mean())
                cells += 1
                inside += case.low <= mean <= case.high
                text = f"{mean:.2f}" if case.low <= mean <= case.high else f"**{mean:.2f}**"
                row.append(f"{text} ({harmonic:.2f}; {ratios.min():.2f} to {ratios.max():.2f})")
            alarms = thousands[_key(case)] // 10
            lines.append(
                f"| {case.name} | {case.rows} | {window} | {len(found)} | {alarms} | "
                + " | ".join(row)
                + " |"
            )
    return "\n".join([*lines, "", f"{inside} of {cells} geometric means are inside."]) + "\n"


def _key(case: Case) -> str:
    return f"{case.name}|{case.rows}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--references", type=int, default=10)
    parser.add_argument("--longer", type=float, default=1.0, help="streams so many times as long")
    parser.add_argument("--only", default="", help="cases whose name this regular expression fits")
    parser.add_argument("--resume", type=Path, help="figures as JSON lines: read at the start, added to")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    references = 1 if options.short else options.references
    results: dict[str, dict[int, dict[str, float]]] = {}
    if options.resume and options.resume.exists():
        for line in options.resume.read_text().splitlines():
            key, seed, found = json.loads(line)
            results.setdefault(key, {})[seed] = found
    thousands = {_key(c): 20 if options.short else int(c.thousands * options.longer) for c in CASES}
    for seed in range(references):
        for case in CASES:
            key = _key(case)
            if seed in results.get(key, {}) or not re.match(options.only, case.name):
                continue
            found = measure(case, seed, thousands[key])
            results.setdefault(key, {})[seed] = found
            print(key, seed, {k: round(v, 2) for k, v in found.items()}, file=sys.stderr, flush=True)
            if options.resume:
                with options.resume.open("a") as file:
                    file.write(json.dumps([key, seed, found]) + "\n")
    text = table(results, thousands)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

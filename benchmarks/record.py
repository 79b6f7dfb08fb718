"""How many predictions a second a process without HTTP can record, and what each costs it.

``.venv/bin/python -m benchmarks.record``. A detector of N reference rows, d = 64, W = 50 runs in the helper
process; a batch is (1000, 64) embeddings with classes and confidences. Beside it, in turn: ``record`` row by
row, and prometheus_client alone, a counter and a histogram for each row. Each load records for some seconds,
and waits until all of it is counted and tested: what was dropped, or still waits, is no throughput. The
detector tests every row, or at most five a second, as by default.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram

from benchmarks.proxy import cpu_seconds
from exporter import InferenceExporter
from exporter.detectors import OnlineMMD
from exporter.metrics.contract import CONFIDENCE_BUCKETS

D, WINDOW, ROWS = 64, 50, 1000
LEAST_ROWS_PER_SECOND = 1e5


class Stream:
    """(1000, 64) rows that are like the reference, with classes and confidences."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._all = rng.standard_normal((20 * ROWS, D), dtype=np.float32)
        self.classes = np.array([f"class_{n}" for n in range(10)])[rng.integers(0, 10, ROWS)]
        self.confidence = rng.beta(8, 2, ROWS)
        self._rng = rng

    @property
    def rows(self) -> np.ndarray:
        """Others each time, since a detector skips repeats."""
        start = self._rng.integers(0, 19 * ROWS)
        return self._all[start : start + ROWS]


class Ours:
    """An exporter with a running detector."""

    def __init__(self, folder: Path, stream: Stream, n_reference: int, *, sampled: bool) -> None:
        self.stream = stream
        entry: dict[str, Any] = {"detector": "mmd", "reference": str(folder / f"{n_reference}.npz")}
        if sampled:
            entry["sample"] = {"max_per_second": 5}
        self.registry = CollectorRegistry()
        self.exporter = InferenceExporter(model="benchmark", registry=self.registry, drift=[entry])
        deadline = time.monotonic() + 120
        while not self.handled("drift_test_stat_count"):  # until its window is full
            if time.monotonic() > deadline:
                raise SystemExit("the detector tests nothing within two minutes")
            self.exporter.record_batch(embedding=stream.rows[:100])
            self.exporter.flush(60)
            time.sleep(0.1)

    def batches(self) -> int:
        """A batch."""
        stream = self.stream
        self.exporter.record_batch(
            predicted_class=stream.classes,
            confidence=stream.confidence,
            embedding=stream.rows,
            wait_seconds=60,
        )
        return ROWS

    def single(self) -> int:
        """A thousand rows, one by one."""
        stream = self.stream
        for row, name, confidence in zip(
            stream.rows, stream.classes, stream.confidence.tolist(), strict=True
        ):
            self.exporter.record(predicted_class=str(name), confidence=confidence, embedding=row)
        self.exporter.flush(60)  # else most of them find no place
        return ROWS

    def handled(self, name: str) -> float:
        """A counter of the ledger, or how many rows were tested."""
        metrics = [m for m in self.registry.collect() if name.startswith(m.name)]
        samples = [s.value for m in metrics for s in m.samples if s.name == name]
        return sum(samples)


class Peer:
    """prometheus_client alone: no embedding, no drift."""

    def __init__(self, stream: Stream) -> None:
        registry = CollectorRegistry()
        self.stream = stream
        self.classes = Counter("predicted_class_total", "Classes.", ["class_name"], registry=registry)
        self.confidence = Histogram(
            "prediction_confidence", ".", buckets=CONFIDENCE_BUCKETS, registry=registry
        )

    def counters(self) -> int:
        """A thousand rows."""
        for name, confidence in zip(self.stream.classes, self.stream.confidence.tolist(), strict=True):
            self.classes.labels(class_name=name).inc()
            self.confidence.observe(confidence)
        return ROWS


def load(work: Callable[[], int], ours: Ours | None, seconds: float) -> tuple[float, float, float]:
    """Rows a second, and microseconds of this process's time, and of the helper's, that a row took."""
    helper = None if ours is None else ours.exporter.runtime.helper.pid
    started, cpu, n = time.perf_counter(), time.process_time(), 0
    helped = cpu_seconds(helper) if helper else 0.0
    while time.perf_counter() - started < seconds:
        n += work()
    if ours is not None:
        ours.exporter.flush()
    rate = n / (time.perf_counter() - started)
    helped = cpu_seconds(helper) - helped if helper else 0.0
    return rate, 1e6 * (time.process_time() - cpu) / n, 1e6 * helped / n


def main() -> None:
    """Measure, and say whether batches are as quick as is promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a load")
    parser.add_argument("--reference", type=int, default=1000, help="rows of the reference")
    arguments = parser.parse_args()
    stream, peer = Stream(), None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        reference = np.random.default_rng(0).standard_normal((arguments.reference, D), dtype=np.float32)
        OnlineMMD.fit(reference, window=WINDOW, seed=0).save(folder / f"{arguments.reference}.npz")
        every = Ours(folder, stream, arguments.reference, sampled=False)
        sampled = Ours(folder, stream, arguments.reference, sampled=True)
        peer = Peer(stream)
        loads = {
            "`record_batch`, every row tested": (every.batches, every),
            "`record_batch`, five rows a second tested": (sampled.batches, sampled),
            "`record` row by row, every row tested": (every.single, every),
            "`record` row by row, five rows a second tested": (sampled.single, sampled),
            "prometheus_client's counters alone": (peer.counters, None),
        }
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in loads}
        for _ in range(arguments.rounds):
            for name, (work, exporter) in loads.items():
                figures[name].append(load(work, exporter, arguments.seconds))
        print("| way | rows/s | of the counters | us of the process a row | of the helper |")
        print("|---|---|---|---|---|")
        medians = {
            name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in figures.items()
        }
        base = medians["prometheus_client's counters alone"][0]
        for name, (rate, own, helped) in medians.items():
            print(f"| {name} | {rate:,.0f} | {rate / base:.2f} | {own:.2f} | {helped:.2f} |")
        kept = True
        for name, ours in (("every row", every), ("five a second", sampled)):
            observed = ours.handled("inference_exporter_observations_total")
            dropped = ours.handled("inference_exporter_dropped_total")
            tested = ours.handled("drift_test_stat_count")
            kept &= dropped == 0
            print(f"\n{name}: {observed:.0f} observed, {dropped:.0f} dropped, {tested:.0f} tested")
            ours.exporter.stop()
        rate = medians["`record_batch`, five rows a second tested"][0]
        kept &= rate >= LEAST_ROWS_PER_SECOND
        print(f"\n{rate:,.0f} rows/s (at least {LEAST_ROWS_PER_SECOND:,.0f}): {'OK' if kept else 'MISSED'}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()

"""What an observation costs the pipeline's thread, from captured bytes to a verdict, stage by stage.

    python -m benchmarks.pipeline

Two services: the one of ``benchmarks.hook`` (``payload: auto``, 64 numbers of full length as embedding,
records packed as they are queued) and the one of ``benchmarks.proxy`` (``payload: fields``, 16 short
numbers). Prints a markdown table: microseconds of processor time for each observation in batches of
``--batch``, medians over ``--rounds`` of all stages in turn. *parse* is ``orjson.loads`` of the answers,
*read* finds the fields in them, *clean* makes observations of the fields, and *all* is ``Pipeline.handle``,
which is measured by itself. ``OMP_NUM_THREADS`` is 1 unless it is set.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the sidecar sets it; read when numpy is imported

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from prometheus_client import CollectorRegistry

from exporter.config import CaptureConfig, Config, FieldsConfig, MMDConfig
from exporter.detectors import OnlineMMD
from exporter.http.exchange import Exchange
from exporter.metrics.instruments import Instruments
from exporter.observation import Observation, Source
from exporter.pipeline.ledger import Tally
from exporter.pipeline.packing import pack, unpack
from exporter.pipeline.processor import Outcomes
from exporter.processors.assembly import make_pipeline
from exporter.processors.drift import Drift
from exporter.processors.predictions import Predictions

N_REFERENCE, WINDOW = 1000, 50
FIELDS = FieldsConfig(predicted_class="prediction", confidence="probability", embedding="embedding")
REQUEST_HEADERS = (
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"client"),
    (b"content-type", b"application/json"),
    (b"content-length", b"1024"),
)
STAGES = ("unpack", "parse", "read", "clean", "metrics", "detect", "all")


@dataclass(frozen=True)
class Case:
    """A service: how its exchanges are read, what they look like, and its detector's file."""

    capture: CaptureConfig
    exchanges: list[Exchange]
    items: list[bytes]
    detector: Path


def exchange(request: bytes, answer: bytes) -> Exchange:
    """One exchange as the hook or the sidecar records it."""
    made = Exchange("POST", "/predict", b"", REQUEST_HEADERS, max_body_bytes=1 << 20, started=time.time())
    made.request_chunk(request)
    length = str(len(answer)).encode()
    made.response_start(200, ((b"content-length", length), (b"content-type", b"application/json")))
    made.response_chunk(answer)
    made.finish(made.started + 0.001)
    return made


def packed(exchanges: list[Exchange], source: Source) -> list[bytes]:
    """The exchanges as they are queued."""
    return [pack(made, source, lambda *_: None) for made in exchanges]


def detector(folder: Path, d: int) -> Path:
    """A detector of (1000, d) standard normal rows."""
    path = folder / f"{d}.npz"
    rows = np.random.default_rng(0).standard_normal((N_REFERENCE, d), dtype=np.float32)
    OnlineMMD.fit(rows, window=WINDOW, expected_run_length=10_000, seed=0).save(path)
    return path


def hook(folder: Path, n: int) -> Case:
    """The service of ``benchmarks.hook``."""
    rng = np.random.default_rng(3)
    request = orjson.dumps({"image": "x" * 513})
    exchanges = [
        exchange(
            request,
            orjson.dumps(
                {
                    "prediction": f"class_{i % 10}",
                    "probability": rng.beta(8, 2),
                    "embedding": rng.standard_normal(64, dtype=np.float32).tolist(),
                }
            ),
        )
        for i in range(n)
    ]
    return Case(CaptureConfig(), exchanges, packed(exchanges, "hook"), detector(folder, 64))


def proxy(folder: Path, n: int) -> Case:
    """The service of ``benchmarks.proxy``, but for answers that differ."""
    rng = np.random.default_rng(3)
    exchanges = [
        exchange(
            b"x" * 1024,
            json.dumps(
                {
                    "prediction": "cat",
                    "probability": 0.93,
                    "embedding": [round(number, 1) for number in rng.standard_normal(16).tolist()],
                }
            ).encode(),
        )
        for _ in range(n)
    ]
    capture = CaptureConfig(payload="fields", fields=FIELDS)
    return Case(capture, exchanges, packed(exchanges, "sidecar"), detector(folder, 16))


def measure(case: Case, *, batch: int, rounds: int) -> dict[str, float]:
    """Microseconds for each observation, by stage."""
    drift = MMDConfig(window=WINDOW, reference=case.detector)
    config = Config(model="benchmark", capture=case.capture, drift=(drift,))
    pipeline = make_pipeline(config, Instruments(CollectorRegistry()), apart=True)
    pipeline.start()
    extractor = pipeline.extractor
    predictions, drift_processor = pipeline.find(Predictions), pipeline.find(Drift)
    assert predictions is not None
    assert drift_processor is not None
    n = len(case.items) // batch * batch
    batches = [range(start, start + batch) for start in range(0, n, batch)]
    captured = [[case.items[i] for i in rows] for rows in batches]
    observations: list[list[Observation]] = [
        [found for i in rows for found in extractor.observations("hook", case.exchanges[i])]
        for rows in batches
    ]
    work: dict[str, Callable[[int], object]] = {
        "parse": lambda k: [orjson.loads(case.exchanges[i].response_body) for i in batches[k]],
        "unpack": lambda k: [unpack(case.items[i]) for i in batches[k]],
        "read": lambda k: [extractor.read(case.exchanges[i]) for i in batches[k]],
        "clean": lambda k: [extractor.observations("hook", case.exchanges[i]) for i in batches[k]],
        "metrics": lambda k: predictions.process(observations[k], Outcomes()),
        "detect": lambda k: drift_processor.process(observations[k], Outcomes()),
        "all": lambda k: pipeline.handle(Tally(), captured[k]),
    }
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(rounds):
        for stage, each in work.items():
            gc.collect()
            started = time.process_time()
            for k in range(len(batches)):
                each(k)
            times[stage].append(1e6 * (time.process_time() - started) / n)
    pipeline.stop()
    found = {stage: statistics.median(all_of_it) for stage, all_of_it in times.items()}
    found["clean"] -= found["read"]
    found["read"] -= found["parse"]
    return found


def main() -> None:
    """Measure both services and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--observations", type=int, default=2048)
    given = parser.parse_args()
    print(f"| service | batch | {', us | '.join(STAGES)}, us |")
    print("|---|---:|" + "---:|" * len(STAGES))
    with tempfile.TemporaryDirectory() as text:
        for make in (hook, proxy):
            case = make(Path(text), given.observations)
            for batch in given.batch:
                found = measure(case, batch=batch, rounds=given.rounds)
                row = " | ".join(f"{found[stage]:.1f}" for stage in STAGES)
                print(f"| {make.__name__} | {batch} | {row} |", flush=True)


if __name__ == "__main__":
    main()

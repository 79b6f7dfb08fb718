"""What many models cost a process, beside one: an exchange on the request path, and its way to the metrics.

    python -m benchmarks.models

The same exchanges, of Open Inference V2, go to a runtime that has one model by configuration, to one whose
traffic names one (``model: auto``), and to one whose traffic names ``--models``. Prints a markdown table:
microseconds of processor time for each exchange, of ``Runtime.submit``, as a service's event loop pays it,
and of what follows on the worker's thread; medians over ``--rounds`` of all runtimes in turn. ``--one``
measures the first one alone, as does a release that knows no other.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import gc
import statistics
import threading
import time

import orjson

from exporter.config.loading import load_config
from exporter.http.exchange import Exchange
from exporter.runtime import Runtime

HEADERS = ((b"content-type", b"application/json"), (b"content-length", b"200"))


def exchanges(n: int, models: int) -> list[Exchange]:
    """Responses of a classifier that is asked about 8 numbers, of one model after the other."""
    asked = {"inputs": [{"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}]}
    made = []
    for k in range(n):
        tensor = {"name": "predict", "shape": [1], "datatype": "INT64", "data": [k % 5]}
        path = f"/v2/models/m{k % models}/infer"
        exchange = Exchange("POST", path, b"", HEADERS, max_body_bytes=1 << 20, started=time.time())
        exchange.request_chunk(orjson.dumps(asked))
        exchange.response_start(200, HEADERS)
        exchange.response_chunk(orjson.dumps({"model_name": "m", "outputs": [tensor]}))
        exchange.finish(time.time())
        made.append(exchange)
    return made


def running(**keys: object) -> Runtime:
    """A runtime that watches whatever is named, and tests nothing."""
    queue = {"max_items": 1_000_000, "max_bytes": "1GiB"}
    return Runtime(load_config({"drift": [], "queue": queue, **keys}, environment={}))


def measure(runtime: Runtime, items: list[Exchange]) -> tuple[float, float]:
    """Microseconds for each exchange: of the thread that submits, and of all others until it is handled."""
    gc.collect()
    everything, here = time.process_time(), time.thread_time()
    for item in items:
        runtime.submit(item, "hook")
    submitted = time.thread_time() - here
    for monitor in [runtime.monitor] if not hasattr(runtime, "models") else runtime.models.all:
        assert monitor.worker.drain(600.0)
    here = time.thread_time() - here
    return 1e6 * submitted / len(items), 1e6 * (time.process_time() - everything - here) / len(items)


def main() -> None:
    """Measure all of them in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--exchanges", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--one", action="store_true")
    given = parser.parse_args()
    cases = [("one, by configuration", running(model="m0"), 1)]
    if not given.one:
        cases.append(("one, by its path", running(model="auto"), 1))
        many = running(model="auto", max_models=given.models)
        cases.append((f"{given.models}, by their paths", many, given.models))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in cases}
    for round_number in range(given.rounds + 1):
        for name, runtime, models in cases:
            found = measure(runtime, exchanges(given.exchanges, models))
            if round_number:  # the first one warms up
                times[name].append(found)
    threads = threading.active_count()
    for _, runtime, _ in cases:
        runtime.stop()
    print("| models | submit, us | worker, us |\n|---|---:|---:|")
    for name, rows in times.items():
        submit, work = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {submit:.1f} | {work:.1f} |")
    print(f"\n{threads - 1} threads for {len(cases)} runtimes")


if __name__ == "__main__":
    main()

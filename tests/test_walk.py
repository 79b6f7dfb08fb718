"""The walk of `docs/architecture.md`, from an embedding in a handler to a gauge, is the way that it goes."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exporter
from exporter.hook import InferenceExporter
from exporter.receivers.asgi.context import observe
from tests.streams import D, normal

ROOT = Path(exporter.__file__).parent
WALK = [
    ("receivers/asgi/context.py", "observe"),
    ("receivers/asgi/middleware.py", "_finish"),
    ("runtime.py", "submit"),
    ("pipeline/packing.py", "pack"),
    ("pipeline/worker.py", "offer"),
    ("pipeline/queue.py", "append"),
    # On the worker's thread from here.
    ("pipeline/worker.py", "serve"),
    ("pipeline/worker.py", "_take"),
    ("pipeline/pipeline.py", "handle"),
    ("pipeline/packing.py", "unpack"),
    ("pipeline/pipeline.py", "_read"),
    ("pipeline/extraction.py", "observations"),
    ("pipeline/pipeline.py", "_process"),
    ("processors/drift.py", "process"),
    ("drift/watch.py", "take"),
    ("drift/watch.py", "_test"),
    ("detectors/mmd/online.py", "update"),
    ("drift/window_metrics.py", "record"),
    ("drift/window_metrics.py", "show_last"),
]


class Calls:
    """Functions of ours, in the order in which they are called on this thread and on those that it starts."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, frame: Any, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            self.seen.append((path.relative_to(ROOT).as_posix(), frame.f_code.co_name))


@pytest.fixture
def calls() -> Iterator[Calls]:
    found = Calls()
    before = sys.getprofile()
    threading.setprofile(found)
    sys.setprofile(found)
    yield found
    sys.setprofile(before)
    threading.setprofile(None)


REQUESTS = itertools.count()


async def application(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    observe(predicted_class="cat", embedding=np.full(D, 9.0 + next(REQUESTS)))  # never the same twice
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def request(app: Any) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(_: Any) -> None: ...

    await app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)


def test_an_embedding_walks_from_the_handler_to_a_gauge(tmp_path: Path, calls: Calls):
    np.save(tmp_path / "reference.npy", normal(200))
    drift = {"reference": str(tmp_path / "reference.npy"), "window": 2, "expected_run_length": 50}
    watching = InferenceExporter(model="m", isolation="thread", drift=[drift])
    app = watching.wrap(application)
    watching.start()
    (watch,) = watching.runtime.pipeline.processors[1].watches  # type: ignore[attr-defined]
    assert watch.join_calibration(20)
    for _ in range(2):
        calls.seen.clear()
        asyncio.run(request(app))
        assert watching.runtime.monitor.worker.drain(20)
    watching.stop()
    ratio = watching.registry.get_sample_value(
        "drift_score_ratio", {"model": "m", "version": "", "detector": "mmd"}
    )
    assert ratio is not None
    assert ratio > 1
    rest = iter(calls.seen)
    assert [hop for hop in WALK if hop not in rest] == []
    assert len(WALK) <= 20
    assert len({file for file, _ in WALK}) <= 13

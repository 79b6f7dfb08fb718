"""An alarm over features names them, whichever way they came: by a helper process, posted, or sent on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from exporter.config.loading import load_config
from exporter.hook import InferenceExporter
from exporter.observation import DriftEvent
from exporter.receivers.asgi.context import observe
from exporter.runtime import Runtime
from exporter.sidecar.ingest import Ingest
from exporter.sidecar.server import ServerThread, listening
from tests.servers import request, wait_for
from tests.streams import Samples

DRIFT = [{"reference": {"learn": 40}, "window": 5, "seed": 1, "expected_run_length": 50}]


def told(n: int, shift: float = 0.0) -> list[dict[str, Any]]:
    rows = np.random.default_rng(n).normal(loc=(0.0, shift), size=(n, 2))
    return [{"income": b, "city": "Riga", "age": a} for a, b in rows.tolist()]


async def service(scope: Any, receive: Any, send: Any) -> None:
    """Tells the features of each request whose body names none that could be tested."""
    asked = json.loads((await receive())["body"])
    if "note" in asked:
        observe(features=json.loads(asked["note"]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    answer = {"predictions": [1] * len(asked.get("instances", "1"))}
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def ask(app: Any, body: dict[str, Any]) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(_: Any) -> None: ...

    await app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)


def record(exporter: InferenceExporter, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert exporter.record(features=row)


def record_batch(exporter: InferenceExporter, rows: list[dict[str, Any]]) -> None:
    assert exporter.record_batch(features={name: [row[name] for row in rows] for name in rows[0]})


def observed(exporter: InferenceExporter, rows: list[dict[str, Any]]) -> None:
    app = exporter.wrap(service)
    for row in rows:
        asyncio.run(ask(app, {"note": json.dumps(row)}))


def asked(exporter: InferenceExporter, rows: list[dict[str, Any]]) -> None:
    asyncio.run(ask(exporter.wrap(service), {"instances": rows}))


Way = Callable[[InferenceExporter, list[dict[str, Any]]], None]


@pytest.mark.parametrize("way", [record, record_batch, observed, asked])
@pytest.mark.parametrize("isolated", [False, True], ids=["thread", "process"])
def test_what_a_service_tells_is_learned_from_and_tested(isolated: bool, way: Way):
    events: list[DriftEvent] = []
    exporter = InferenceExporter(
        model="m",
        isolation="process" if isolated else "thread",
        drift=DRIFT,
        registry=CollectorRegistry(),
        on_event=events.append,
    )
    try:
        state = Samples(exporter.registry).state
        way(exporter, told(40))
        assert exporter.flush(60)
        wait_for(lambda: state() == "filling", 60, "the calibration")
        way(exporter, told(20, shift=9.0))
        assert exporter.flush(60)
        (event,) = wait_for(lambda: events, 60, "an alarm")
        assert (exporter.runtime.helper is not None) == isolated
    finally:
        exporter.stop()
    assert sorted(event.moved_names) == ["age", "income"]
    assert event.moved_names[0] == "income"
    assert Samples(exporter.registry)("inference_exporter_dropped_total", reason="failed") == 0


class Collecting:
    """A runtime with the ingest API on loopback."""

    def __init__(self) -> None:
        self.events: list[DriftEvent] = []
        keys = {"model": "m", "drift": DRIFT, "ingest": {"enabled": True}}
        self.runtime = Runtime(load_config(keys, environment={}), sidecar=True, on_event=self.events.append)
        self.runtime.start()
        app = Starlette(routes=Ingest(self.runtime).app.routes)
        self.server = ServerThread(app, listening("127.0.0.1:0", "admin.listen"))
        self.server.start()
        self.samples = Samples(self.runtime.registry)

    def named(self, send: Way, exporter: Any = None) -> tuple[str, ...]:
        """What the alarm over what was sent names."""
        send(exporter, told(40))
        wait_for(lambda: self.samples.state() == "filling", 30, "the calibration")
        send(exporter, told(20, shift=9.0))
        return wait_for(lambda: self.events, 30, "an alarm")[0].moved_names


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    found = Collecting()
    yield found
    found.server.stop()
    found.runtime.stop()


def test_what_is_posted_is_learned_from_and_tested(collecting: Collecting):
    def post(_: Any, rows: list[dict[str, Any]]) -> None:
        body = json.dumps([{"features": row} for row in rows]).encode()
        port = int(collecting.server.address.rpartition(":")[2])
        sent = request(port, "POST", "/v1/observations", body, {"content-type": "application/json"})
        assert sent[0] == 202

    assert collecting.named(post)[0] == "income"


def test_an_embedding_that_is_not_made_of_the_features_is_sent_itself(collecting: Collecting):
    url = f"http://{collecting.server.address}"
    fields = {"embedding": "request.chosen", "features": "request.all"}
    exporter = InferenceExporter(
        model="m",
        isolation="thread",
        collector=url,
        capture={"payload": "fields", "fields": fields},
        registry=CollectorRegistry(),
    )
    app = exporter.wrap(service)
    try:
        for row in told(10):
            chosen = {"age": row["age"]}
            asyncio.run(ask(app, {"instances": [0], "chosen": chosen, "all": row}))
        learned = 10 / 40
        wait_for(lambda: collecting.samples("drift_learning_ratio", detector="mmd") == learned, 30, "all")
        learner = collecting.runtime.pipeline.processors[1].watches[0]._learning.learner  # type: ignore[attr-defined]
        assert learner.length == 1
    finally:
        exporter.stop()


@pytest.mark.parametrize("way", [record, asked])
def test_what_is_sent_to_a_collector_keeps_its_names(collecting: Collecting, way: Way):
    url = f"http://{collecting.server.address}"
    exporter = InferenceExporter(model="m", isolation="thread", collector=url, registry=CollectorRegistry())
    try:
        assert collecting.named(way, exporter)[0] == "income"
    finally:
        exporter.stop()

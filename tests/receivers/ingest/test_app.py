from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc

import numpy as np
import orjson
import pytest
from starlette.applications import Starlette

from exporter.config import IngestConfig, LabelsConfig
from exporter.http.exchange import Exchange
from exporter.processors.labels import LabelJoiner
from exporter.receivers.ingest.app import IngestApp
from tests.receivers.ingest.bodies import mutated

TOKEN = "a-long-token"
JSON = (b"content-type", b"application/json")


class Sink:
    """A sink that keeps what it is given."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.observations = []
        self.reports = []
        self.exchanges = []
        self.joiner = LabelJoiner(LabelsConfig())
        self.pairs = []
        self.counted = []
        self.length = None

    def accepts(self, model: str) -> bool:
        return model != "stranger"

    def embedding_length(self, model: str) -> int | None:
        return self.length

    def count(self, route: str, status: int) -> None:
        self.counted.append((route, status))

    def submit(self, observation, model: str) -> bool:
        if isinstance(observation, Exchange):
            self.exchanges.append((model, observation))
            return True
        if len(self.observations) >= self.room:
            return False
        self.observations.append(observation)
        pair = self.joiner.observed(observation)
        if pair:
            self.pairs.append(pair)
        return True

    def label(self, label):
        outcome, pair = self.joiner.labelled(label)
        if pair:
            self.pairs.append(pair)
        return outcome

    def report(self, report) -> None:
        self.reports.append(report)


class Client:
    """Speaks ASGI to an application, in this process."""

    def __init__(self, sink: Sink | None = None, **options) -> None:
        self.sink = sink or Sink()
        config = options.pop("config", IngestConfig(enabled=True))
        self.ingest = IngestApp(
            config,
            model="food",
            sink=self.sink,
            clock=lambda: 1000.0,
            **options,
        )
        self.app = Starlette(routes=self.ingest.routes)

    async def request(self, method, path, body=b"", headers=(), pieces=1):
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        step = max(1, -(-len(data) // pieces))
        chunks = [data[start : start + step] for start in range(0, len(data), step)] or [b""]
        messages = [
            {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
            for index, chunk in enumerate(chunks)
        ]
        sent = []

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        names = [name for name, _ in headers]
        kind = [] if b"content-type" in names else [JSON]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "root_path": ""}
        await self.app({**scope, "headers": [*headers, *kind]}, receive, send)
        start, end = sent
        body = orjson.loads(end["body"]) if end["body"].startswith(b"{") else end["body"]
        return start["status"], body, dict(start["headers"])

    def post(self, path, body=b"", headers=(), pieces=1):
        return asyncio.run(self.request("POST", path, body, headers, pieces))


def test_observations_one_many_and_wrapped():
    client = Client()
    full = {
        "model": "food",
        "timestamp": "2026-01-31T12:00:00Z",
        "predicted_class": "soup",
        "confidence": 0.5,
        "value": 2,
        "embedding": [1, 2.5],
        "features": {"a": 1, "b": "x", "c": None},
        "request_id": 7,
        "latency_seconds": 0.25,
    }
    assert client.post("/v1/observations", full)[:2] == (202, {"accepted": 1})
    assert client.post("/v1/observations", [full, {"value": 1.5}], pieces=3)[1] == {"accepted": 2}
    assert client.post("/v1/observations", {"observations": [full]})[1] == {"accepted": 1}
    first, _, plain, _ = client.sink.observations
    assert (first.model, first.source, first.timestamp) == ("food", "ingest", 1769860800.0)
    assert (first.predicted_class, first.confidence, first.value, first.request_id) == ("soup", 0.5, 2.0, "7")
    assert first.embedding.dtype == np.float32
    np.testing.assert_array_equal(first.embedding, [1, 2.5])
    assert (plain.model, plain.timestamp, plain.value) == ("food", 1000.0, 1.5)
    assert client.sink.counted == [("/v1/observations", 202)] * 3


def test_gzip_is_undone_and_a_bomb_is_not():
    client = Client()
    encoded = ((b"content-encoding", b"gzip"),)
    assert client.post("/v1/observations", gzip.compress(b'{"value": 1}'), encoded)[0] == 202
    bomb = gzip.compress(b"[" + b" " * (64 * 1024 * 1024) + b"]")
    tracemalloc.start()
    status, said, _ = client.post("/v1/observations", bomb, encoded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 413
    assert "max_body_bytes" in said["error"]
    assert peak < 32 * 1024 * 1024
    assert client.post("/v1/observations", b"x", ((b"content-encoding", b"lzw"),))[0] == 415


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, ""),
        (b'{"value": NaN}', 400, ""),
        (b'{"value": 1e999}', 400, ""),
        (b"[" * 100_000 + b"]" * 100_000, 400, ""),
        (b"\xff", 400, ""),
        ([3], 422, "[0]"),
        ({}, 422, "body"),
        ({"value": None, "request_id": "r"}, 422, "body"),
        ({"observations": {}}, 422, "observations"),
        ({"observations": [], "more": 1}, 422, "more"),
        ({"value": 1, "valu": 2}, 422, "valu"),
        ({"confidence": 1.5}, 422, "confidence"),
        ({"confidence": True}, 422, "confidence"),
        ([{"value": 1}, {"confidence": "high"}], 422, "[1].confidence"),
        ({"value": "x"}, 422, "value"),
        ({"predicted_class": []}, 422, "predicted_class"),
        ({"predicted_class": "x" * 129}, 422, "predicted_class"),
        ({"embedding": []}, 422, "embedding"),
        ({"embedding": [[1.0]]}, 422, "embedding[0]"),
        ({"embedding": [1.0, None]}, 422, "embedding[1]"),
        ({"embedding": [1.0, 1e300]}, 422, "embedding[1]"),
        ({"embedding": [1.0] * 3}, 422, "embedding"),
        ({"features": [1, "x"]}, 422, "features[1]"),
        ({"features": {"a": {}}}, 422, "features.a"),
        ({"value": 1, "timestamp": "noon"}, 422, "timestamp"),
        ({"value": 1, "timestamp": -1}, 422, "timestamp"),
        ({"value": 1, "timestamp": 1e300}, 422, "timestamp"),
        ({"value": 1, "request_id": "x" * 257}, 422, "request_id"),
        ({"value": 1, "latency_seconds": -1}, 422, "latency_seconds"),
        ({"value": 1, "model": "stranger"}, 422, "model"),
        ({"value": 1, "model": ""}, 422, "model"),
        ([{"value": 1}] * 10_001, 422, "body"),
    ],
)
def test_a_bad_observation_names_its_field_and_nothing_is_taken(body, status, field):
    client = Client()
    client.sink.length = 2
    code, said, _ = client.post("/v1/observations", body)
    assert (code, said["field"]) == (status, field)
    assert client.sink.observations == []
    assert client.sink.counted == [("/v1/observations", status)]


def test_a_full_queue_says_when_to_come_back_and_what_was_taken():
    client = Client(Sink(room=3), config=IngestConfig(enabled=True, retry_after=1.5))
    status, said, headers = client.post("/v1/observations", [{"value": i} for i in range(5)])
    assert (status, said["accepted"], headers[b"retry-after"]) == (429, 3, b"2")


def test_an_idempotency_key_makes_a_repeat_go_on_where_it_was_left():
    client = Client(Sink(room=3))
    key = ((b"idempotency-key", b"k1"),)
    batch = [{"value": i} for i in range(5)]
    assert client.post("/v1/observations", batch, key)[0] == 429
    client.sink.room = 100
    assert client.post("/v1/observations", batch, key)[:2] == (202, {"accepted": 5})
    assert client.post("/v1/observations", batch, key)[:2] == (202, {"accepted": 5})
    assert [item.value for item in client.sink.observations] == [0, 1, 2, 3, 4]
    assert client.post("/v1/observations", batch, ((b"idempotency-key", b"k" * 300),))[0] == 422


def test_labels_join_late_and_once():
    client = Client()
    client.post("/v1/observations", {"predicted_class": "soup", "request_id": "r1"})
    label = {"model": "food", "request_id": "r1", "label": "stew"}
    assert client.post("/v1/labels", label)[:2] == (202, {"accepted": 1, "joined": 1})
    assert client.post("/v1/labels", [label, {**label, "label": "pie"}])[1] == {
        "accepted": 2,
        "duplicate": 1,
        "conflict": 1,
    }
    assert client.post("/v1/labels", {"labels": [{"request_id": "r2", "label": 1.5}]})[1]["waiting"] == 1
    (pair,) = client.sink.pairs
    assert (pair.predicted_class, pair.label) == ("soup", "stew")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"label": "x"}, "request_id"),
        ({"request_id": "r"}, "label"),
        ({"request_id": "r", "label": []}, "label"),
        ([{"request_id": "r", "label": "x", "who": 1}], "[0].who"),
        ({"request_id": "r", "label": "x", "model": "stranger"}, "[0].model"),
    ],
)
def test_a_bad_label_names_its_field(body, field):
    status, said, _ = Client().post("/v1/labels", body)
    assert (status, said["field"]) == (422, field)


def report(model_type="classifier", **first):
    row = {"prediction_time": "2026-02-01 09:30:00", "record_id": 1001, "prediction": "stays", **first}
    return {
        "model_id": "churn",
        "model_type": model_type,
        "last_training_time": "2026-01-31T00:00:00",
        "predictions": [row],
    }


def test_a_report_is_applied_once_by_record_id():
    client = Client()
    body = report(
        prediction_probability=0.75, ground_truth_label="goes", latency_seconds=0.5, embedding=[1.0]
    )
    assert client.post("/metrics", body)[:2] == (200, {"accepted": 1, "duplicates": 0})
    assert client.post("/metrics", body)[:2] == (200, {"accepted": 0, "duplicates": 1})
    (observation,) = client.sink.observations
    assert (observation.model, observation.request_id) == ("churn", "1001")
    assert (observation.predicted_class, observation.confidence) == ("stays", 0.75)
    assert observation.timestamp == 1769938200.0
    (pair,) = client.sink.pairs
    assert pair.label == "goes"
    assert client.sink.reports[0].last_training_time == 1769817600.0


def test_a_report_of_a_regression_has_values():
    client = Client()
    assert client.post("/metrics", report("regression", prediction=12, ground_truth_label=11.5))[0] == 200
    assert client.sink.observations[0].value == 12.0
    assert client.sink.pairs[0].label == 11.5


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_id": None}, "model_id"),
        ({"model_id": "stranger"}, "model_id"),
        ({"model_type": "ranker"}, "model_type"),
        ({"last_training_time": "soon"}, "last_training_time"),
        ({"predictions": {}}, "predictions"),
        ({"extra": 1}, "extra"),
        (report(prediction_time=None), "predictions[0].prediction_time"),
        (report(record_id=None), "predictions[0].record_id"),
        (report(prediction=None), "predictions[0].prediction"),
        (report(prediction_probability=2), "predictions[0].prediction_probability"),
        (report("regression", prediction="many"), "predictions[0].prediction"),
        (report("regression", prediction=1, ground_truth_label="x"), "predictions[0].ground_truth_label"),
    ],
)
def test_a_bad_report_names_its_field(change, field):
    client = Client()
    status, said, _ = client.post("/metrics", {**report(), **change})
    assert (status, said["field"]) == (422, field)
    assert client.sink.observations == client.sink.reports == []


def test_cloudevents_are_joined_and_submitted_as_an_exchange():
    client = Client()
    for kind, body in (("response", {"predictions": [2]}), ("request", {"instances": [[0.5, 0.5]]})):
        headers = (
            (b"ce-specversion", b"1.0"),
            (b"ce-id", b"abc"),
            (b"ce-type", f"org.kubeflow.serving.inference.{kind}".encode()),
        )
        assert client.post("/v1/observations", body, headers)[:2] == (202, {"accepted": 1})
    ((model, exchange),) = client.sink.exchanges
    assert (model, exchange.notes) == (None, {"request_id": "abc"})  # as the exchange itself says
    assert (exchange.request_body, exchange.response_body) == (
        b'{"instances":[[0.5,0.5]]}',
        b'{"predictions":[2]}',
    )
    headers = ((b"ce-specversion", b"1.0"), (b"ce-id", b"x"), (b"ce-type", b"a.response"))
    client.post("/v1/observations", b"<html>", headers)
    client.ingest.flush()
    assert len(client.sink.exchanges) == 2


def test_the_token_is_needed_where_there_is_one():
    client = Client(token=TOKEN)
    body = {"value": 1}
    for given in (None, b"Bearer wrong", b"Basic " + TOKEN.encode(), TOKEN.encode()):
        headers = () if given is None else ((b"authorization", given),)
        status, _, sent = client.post("/v1/observations", body, headers)
        assert status == 401
        assert sent[b"www-authenticate"] == b"Bearer"
    assert client.sink.observations == []
    assert client.post("/v1/observations", body, ((b"authorization", f"Bearer {TOKEN}".encode()),))[0] == 202


def test_a_body_beyond_the_cap_is_refused_by_its_header_and_while_it_comes():
    client = Client(config=IngestConfig(enabled=True, max_body_bytes=100))
    assert client.post("/v1/observations", b"", ((b"content-length", b"101"),))[0] == 413
    assert client.post("/v1/observations", b"", ((b"content-length", b"9" * 40),))[0] == 413
    assert client.post("/v1/observations", b" " * 101, pieces=10)[0] == 413


def test_other_methods_and_routes():
    client = Client()
    assert asyncio.run(client.request("GET", "/v1/labels"))[0] == 405
    assert client.post("/v2/labels")[0] == 404
    status, document, _ = asyncio.run(client.request("GET", "/v1/openapi.json"))
    assert status == 200
    assert set(document["paths"]) == {"/v1/observations", "/v1/labels", "/metrics"}


def test_ten_thousand_hostile_bodies_are_answered_and_leave_nothing_invalid_behind():
    observation = {
        "predicted_class": "soup",
        "confidence": 0.5,
        "embedding": [1.0, 2.0],
        "request_id": "r1",
        "timestamp": 5,
    }
    seeds = [
        orjson.dumps(observation),
        orjson.dumps([observation, observation]),
        orjson.dumps({"labels": [{"request_id": "r1", "label": "soup"}]}),
        orjson.dumps(report(prediction_probability=0.5, embedding=[1.0, 2.0], ground_truth_label="soup")),
        orjson.dumps({"predictions": [[0.5, 0.5]]}),
    ]
    events = ((b"ce-specversion", b"1.0"), (b"ce-type", b"x.response"))
    generator = random.Random(4)
    client = Client()
    client.sink.length = 2

    async def all_of_them() -> set[int]:
        statuses = set()
        for index in range(10_000):
            path = generator.choice(["/v1/observations", "/v1/labels", "/metrics"])
            headers = generator.choice(
                [
                    (),
                    (),
                    ((b"content-encoding", generator.choice([b"gzip", b"br", b"zstd", b"\xff"])),),
                    (*events, (b"ce-id", str(index).encode())),
                    ((b"content-type", b"application/cloudevents+json"),),
                    ((b"content-type", b"application/cloudevents-batch+json"),),
                ]
            )
            status, _, _ = await client.request("POST", path, mutated(generator, seeds), headers)
            statuses.add(status)
        return statuses

    tracemalloc.start()
    statuses = asyncio.run(all_of_them())
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert statuses <= {200, 202, 400, 413, 415, 422}
    assert {202, 400, 415, 422} <= statuses
    assert len(client.sink.counted) == 10_000
    assert peak < 64 * 1024 * 1024
    assert current < 48 * 1024 * 1024
    for item in client.sink.observations:
        assert item.confidence is None or 0.0 <= item.confidence <= 1.0
        assert item.embedding is None or np.isfinite(item.embedding).all()

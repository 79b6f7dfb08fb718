"""The hook as a user meets it: metrics, bad input, several apps, switched off, overloaded."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import JSONResponse, Response, StreamingResponse

from exporter import ConfigError, InferenceExporter, Observation, observe
from exporter.detectors import OnlineMMD
from exporter.metrics.contract import (
    DETECTOR_STATES,
    DRIFT,
    DROP_REASONS,
    ERROR_STAGES,
    HTTP,
    HTTP_DURATION_BUCKETS,
    INVALID_VALUES,
    LEDGER,
    OPERATION,
    PREDICTIONS,
    SOURCES,
)
from exporter.metrics.exposition import render
from exporter.processors.drift import Drift

GOOD = {"prediction": "cat", "probability": 0.9}
LABELS = {"model": "m", "version": ""}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("detector") / "detector.npz"
    rows = np.random.default_rng(0).standard_normal((100, 3))
    OnlineMMD.fit(rows, window=5, expected_run_length=1000, seed=0).save(path)
    return str(path)


class Client:
    """Calls an application in process, without its lifespan, so that the hook starts by itself."""

    def __init__(self, app: FastAPI, exporter: InferenceExporter) -> None:
        self.app, self.exporter = app, exporter

    async def request(
        self, method: str = "POST", path: str = "/predict", body: bytes = b"", pieces: int = 1
    ) -> tuple[int, bytes]:
        left = pieces
        status, received = 0, []

        async def receive() -> dict[str, Any]:
            nonlocal left
            left -= 1
            if left < 0:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": body, "more_body": left > 0}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                received.append(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"host", b"test"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self.app(scope, receive, send)
        return status, b"".join(received)

    async def scrape(self) -> Samples:
        """Every sample, as a strict reader of the exposition sees it."""
        monitor = self.exporter.runtime.monitor
        await asyncio.to_thread(monitor.worker.drain, 10)
        status, text = await self.request("GET", "/metrics")
        assert status == 200
        return samples_of(text.decode("utf-8"))


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(({**LABELS, **labels}).items())]


def balanced(samples: Samples) -> bool:
    def total(name: str) -> float:
        return sum(found for (known, _), found in samples.items() if known == f"inference_exporter_{name}")

    parts = ("processed_total", "dropped_total", "sampled_out_total", "queued")
    return total("observations_total") == sum(map(total, parts))


@pytest.fixture
def serve() -> Iterator[Any]:
    """Makes a client of a service that answers what ``answer`` returns, and stops its exporter."""
    exporters = []

    def make(answer: Any = lambda: GOOD, **settings: Any) -> Client:
        app = FastAPI()

        @app.post("/predict")
        async def predict(request: Request) -> Response:
            async for _ in request.stream():
                pass
            given = answer()
            return given if isinstance(given, Response) else JSONResponse(given)

        exporter = InferenceExporter(model="m", **settings).instrument(app).expose(app)
        exporters.append(exporter)
        return Client(app, exporter)

    yield make
    for exporter in exporters:
        exporter.stop()


async def test_the_one_line(serve: Any, detector: str):
    client = serve(lambda: {**GOOD, "embedding": [0.1, 0.2, 0.3]}, reference=detector)
    for _ in range(7):
        assert await client.request() == (
            200,
            json.dumps({**GOOD, "embedding": [0.1, 0.2, 0.3]}, separators=(",", ":")).encode(),
        )
    samples = await client.scrape()
    assert value(samples, "prediction_confidence_count") == 7
    assert value(samples, "prediction_confidence_bucket", le="0.9") == 7
    assert value(samples, "prediction_confidence_bucket", le="0.8") == 0
    assert value(samples, "predicted_class_total", class_name="cat") == 7
    assert value(samples, "drift_test_stat_count", detector="mmd") == 3
    assert value(samples, "drift_detector_state", detector="mmd", state="ready") == 1
    assert value(samples, "inference_exporter_processed_total") == 7
    requests = (
        "http_requests_total",
        frozenset({"handler": "/predict", "method": "POST", "status": "2xx"}.items()),
    )
    assert samples[requests] == 7


async def test_methods_that_clients_invent_make_no_series(serve: Any):
    client = serve()
    for number in range(30):
        await client.request(f"INVENTED{number}")
    await client.request()
    methods = {
        dict(labels).get("method") for name, labels in await client.scrape() if name.startswith("http_")
    }
    assert methods == {None, "POST", "OTHER"}


async def test_every_metric_and_every_label_set_that_can_be_known_is_there_from_the_start(
    serve: Any, detector: str, tmp_path: Path
):
    client = serve(drift=[{"reference": detector, "checkpoint": str(tmp_path / "checkpoint.npz")}])
    await client.request()
    _, text = await client.request("GET", "/metrics")
    _, text = await client.request("GET", "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    for spec in (*PREDICTIONS, *DRIFT, *LEDGER, *OPERATION, *HTTP):
        name = spec.name.removesuffix("_total") if spec.type == "counter" else spec.name
        assert name in families, spec.name
        assert families[name].type == spec.type, spec.name
        assert families[name].documentation, spec.name
    samples = samples_of(text.decode())
    children = [
        *(("inference_exporter_observations_total", {"source": source}) for source in SOURCES),
        *(("inference_exporter_dropped_total", {"reason": reason}) for reason in DROP_REASONS),
        *(
            ("inference_exporter_invalid_values_total", {"field": field, "reason": reason})
            for field, reason in INVALID_VALUES
        ),
        *(("drift_detector_state", {"detector": "mmd", "state": state}) for state in DETECTOR_STATES),
        *((spec.name, {"detector": "mmd"}) for spec in DRIFT if spec.type == "counter"),
        ("predicted_class_total", {"class_name": "other"}),
    ]
    for name, labels in children:
        assert value(samples, name, **labels) >= 0, (name, labels)
    for stage in ERROR_STAGES:
        assert samples["inference_exporter_errors_total", frozenset({("stage", stage)})] == 0


BAD_VALUES = [
    ({"confidence": float("nan")}, "confidence", "not_finite"),
    ({"confidence": 1.5}, "confidence", "out_of_range"),
    ({"confidence": -0.001}, "confidence", "out_of_range"),
    ({"confidence": "very"}, "confidence", "wrong_type"),
    ({"value": float("inf")}, "value", "not_finite"),
    ({"value": [1]}, "value", "wrong_type"),
    ({"predicted_class": {"a": 1}}, "predicted_class", "wrong_type"),
    ({"embedding": "text"}, "embedding", "wrong_type"),
    ({"embedding": [1.0, 2.0]}, "embedding", "wrong_shape"),
    ({"embedding": np.zeros((3, 3))}, "embedding", "wrong_shape"),
    ({"embedding": np.array([1.0, np.nan, 0.0])}, "embedding", "not_finite"),
    ({"embedding": torch.tensor([1.0, torch.inf, 0.0])}, "embedding", "not_finite"),
]


@pytest.mark.parametrize(("given", "field", "reason"), BAD_VALUES, ids=[f"{f}-{r}" for _, f, r in BAD_VALUES])
async def test_a_bad_value_is_counted_and_the_rest_goes_on(
    given: dict[str, Any], field: str, reason: str, serve: Any, detector: str
):
    def answer() -> dict[str, str]:
        observe(**given)
        return {"prediction": "cat"}

    client = serve(answer, reference=detector)
    assert await client.request() == (200, b'{"prediction":"cat"}')
    samples = await client.scrape()
    assert value(samples, "inference_exporter_invalid_values_total", field=field, reason=reason) == 1
    assert (
        sum(v for (name, _), v in samples.items() if name == "inference_exporter_invalid_values_total") == 1
    )
    assert value(samples, "inference_exporter_processed_total") == 1
    assert value(samples, "drift_detector_state", detector="mmd", state="failed") == 0
    assert balanced(samples)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unreadable"),
        (b"hello", "unreadable"),
        (b"\xff\xfe\x00", "unreadable"),
        (b"[" * 50_000, "unreadable"),
        (b'{"prediction": "cat"', "unreadable"),
        (b'{"probability": NaN}', "unreadable"),
        (b"{}", "no_prediction"),
        (b"[]", "no_prediction"),
        (b"null", "no_prediction"),
        (b'"cat"', "no_prediction"),
    ],
)
async def test_an_answer_that_says_nothing_is_counted_by_reason(body: bytes, reason: str, serve: Any):
    client = serve(lambda: Response(body, media_type="application/json"))
    assert await client.request() == (200, body)
    samples = await client.scrape()
    assert value(samples, "inference_exporter_dropped_total", reason=reason) == 1
    assert balanced(samples)


async def test_bodies_of_100_megabytes_pass_and_are_not_kept(serve: Any):
    piece = b"x" * 1_000_000

    def answer() -> Response:
        return StreamingResponse(iter([piece] * 100))

    client = serve(answer)
    status, received = await client.request(body=piece, pieces=100)
    assert (status, len(received)) == (200, 100_000_000)
    samples = await client.scrape()
    assert value(samples, "inference_exporter_dropped_total", reason="body_too_large") == 1
    assert balanced(samples)


HOSTILE = ["\ud800", "a\nb", 'quote " and \\ and }', "x" * 10_000, "\x00\x01", "\u202e", "", "{", "😀" * 400]


async def test_hostile_class_names_leave_the_scrape_valid(serve: Any):
    names = iter(HOSTILE)

    def answer() -> dict[str, str]:
        observe(predicted_class=next(names), request_id="\udfff\n")
        return {}

    client = serve(answer)
    for _ in HOSTILE:
        assert (await client.request())[0] == 200
    samples = await client.scrape()
    classes = {
        dict(labels)["class_name"]: count
        for (name, labels), count in samples.items()
        if name == "predicted_class_total" and count
    }
    assert sum(classes.values()) == len(HOSTILE)
    assert max(map(len, classes)) <= 128
    assert classes["a\nb"] == 1


async def test_100_000_classes_stay_within_the_cap(serve: Any):
    client = serve(queue={"max_items": 100_000, "max_bytes": "1GiB"}, capture={"max_classes": 50})
    runtime = client.exporter.runtime
    for index in range(100_000):
        runtime.submit(Observation("m", "hook", predicted_class=f"class {index}"), "hook")
    samples = await client.scrape()
    counts = {
        dict(labels)["class_name"]: count
        for (name, labels), count in samples.items()
        if name == "predicted_class_total"
    }
    assert len(counts) == 51
    assert counts["other"] == 100_000 - 50
    assert balanced(samples)


async def test_observe_outside_of_a_request_counts(serve: Any):
    client = serve()
    name = ("inference_exporter_orphan_observes_total", frozenset())
    before = (await client.scrape())[name]
    observe(predicted_class="cat")
    observe(confidence="nonsense")
    assert (await client.scrape())[name] == before + 2


async def test_two_apps_in_one_process_keep_apart(serve: Any, detector: str):
    mine = CollectorRegistry()
    one = serve(lambda: {"prediction": "one"}, registry=mine, reference=detector)
    two = serve(lambda: {"prediction": "two"}, drift=[])
    await asyncio.gather(*(one.request() for _ in range(3)), *(two.request() for _ in range(5)))
    first, second = await one.scrape(), await two.scrape()
    assert one.exporter.registry is mine
    assert value(first, "predicted_class_total", class_name="one") == 3
    assert value(second, "predicted_class_total", class_name="two") == 5
    assert not [key for key in first if ("class_name", "two") in key[1]]
    assert not [name for name, _ in second if name.startswith("drift_test_stat_count")]


@pytest.mark.parametrize("word", ["false", "FALSE", "0", "off", "no"])
async def test_switched_off_it_leaves_no_trace(word: str, serve: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENABLE_METRICS", word)
    threads = threading.active_count()
    client = serve()
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    client.exporter.watch(module)
    client.exporter.start()
    assert client.app.user_middleware == []
    assert not module[0]._forward_pre_hooks
    assert (await client.request())[0] == 200
    assert (await client.request("GET", "/metrics"))[0] == 404
    assert threading.active_count() == threads


def test_switched_off_nothing_is_built_whatever_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "config.yaml"
    broken.write_text("drift: [{reference: nowhere.npy}]\nno such key: 1\n")
    with pytest.raises(ConfigError):
        InferenceExporter(broken)
    monkeypatch.setenv("ENABLE_METRICS", "false")
    exporter = InferenceExporter(broken)
    app = FastAPI()
    assert exporter.instrument(app).expose(app) is exporter
    assert exporter.wrap(app) is app
    exporter.watch(object()).start()
    exporter.stop()
    assert not {"config", "runtime"} & vars(exporter).keys()
    assert list(exporter.registry.collect()) == []


def test_one_module_is_watched_at_a_time():
    one, two = torch.nn.Sequential(torch.nn.Linear(2, 2)), torch.nn.Sequential(torch.nn.Linear(2, 2))
    exporter = InferenceExporter(model="m").watch(one)
    for again in (one, two):
        with pytest.raises(ConfigError, match="watch: Sequential would be the second module or layer"):
            exporter.watch(again)
    assert not two[0]._forward_pre_hooks
    exporter.watches[0].remove()
    exporter.watch(two)
    assert not one[0]._forward_pre_hooks
    exporter.stop()


async def test_an_app_that_is_mounted_is_observed(serve: Any):
    client = serve()
    outer = FastAPI()
    outer.mount("/api", client.app)
    assert (await Client(outer, client.exporter).request(path="/api/predict"))[0] == 200
    samples = await client.scrape()
    assert value(samples, "predicted_class_total", class_name="cat") == 1


async def test_switched_on_by_the_same_variable(serve: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENABLE_METRICS", "true")
    client = serve()
    assert (await client.request("GET", "/metrics"))[0] == 200


async def test_a_watched_module_gives_each_request_its_own_embeddings(detector: str):
    app = FastAPI()
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    passes = []
    module.register_forward_hook(lambda *_: passes.append(None))

    @app.post("/predict")
    def predict(request: Request) -> dict[str, Any]:
        n = int(request.query_params.get("n", 1))
        with torch.inference_mode():
            module(torch.zeros(n, 3))
        return {"predictions": [{"prediction": str(index)} for index in range(n)]} if n > 1 else GOOD

    exporter = InferenceExporter(model="m", reference=detector).watch(module).instrument(app).expose(app)
    client = Client(app, exporter)
    await asyncio.gather(*(client.request() for _ in range(20)))
    samples = await client.scrape()
    assert len(passes) == 20
    assert value(samples, "drift_test_stat_count", detector="mmd") == 20 - 4
    assert value(samples, "inference_exporter_observations_total", source="hook") == 20
    module(torch.zeros(6, 3))
    samples = await client.scrape()
    assert value(samples, "drift_test_stat_count", detector="mmd") == 26 - 4
    assert value(samples, "inference_exporter_observations_total", source="hook") == 26
    assert balanced(samples)
    exporter.stop()


async def test_a_batch_answer_counts_each_of_its_instances(serve: Any, detector: str):
    rows = [{"prediction": str(n), "embedding": [0.0, 0.0, float(n)]} for n in range(8)]
    client = serve(lambda: {"predictions": rows}, reference=detector)
    await client.request()
    samples = await client.scrape()
    assert value(samples, "inference_exporter_observations_total", source="hook") == 8
    assert value(samples, "inference_exporter_processed_total") == 8
    assert value(samples, "drift_test_stat_count", detector="mmd") == 4


@pytest.mark.parametrize("fails", [False, True], ids=["healthy", "detector-fails"])
def test_the_ledger_is_exact_at_any_scrape_while_threads_overload_a_tiny_queue(detector: str, fails: bool):
    exporter = InferenceExporter(
        model="m",
        reference=detector,
        queue={"max_items": 50, "max_bytes": "20KiB", "flush_interval_seconds": 0.001, "drain_seconds": 0.05},
    )
    runtime = exporter.runtime
    if fails:
        calls = iter(range(3))

        def update(_: Any) -> None:
            next(calls)

        runtime.pipeline.find(Drift).watches[0]._detector.update = update
    row = np.zeros(3)
    done = threading.Event()
    scrapes: list[Samples] = []

    def scrape() -> None:
        while not done.is_set():
            scrapes.append(samples_of(runtime.render()[1].decode()))

    def hammer() -> None:
        for _ in range(1500):
            runtime.submit(Observation("m", "hook", embedding=row, predicted_class="cat"), "hook")

    scraper = threading.Thread(target=scrape)
    threads = [threading.Thread(target=hammer) for _ in range(6)]
    for thread in (scraper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    exporter.stop()
    done.set()
    scraper.join()
    scrapes.append(samples_of(runtime.render()[1].decode()))
    assert all(map(balanced, scrapes))
    last = scrapes[-1]
    assert value(last, "inference_exporter_observations_total", source="hook") == 9000
    assert value(last, "inference_exporter_queued") == 0
    full = sum(
        value(last, "inference_exporter_dropped_total", reason=reason)
        for reason in ("queue_full", "queue_bytes")
    )
    assert full > 0
    assert value(last, "drift_detector_state", detector="mmd", state="failed") == float(fails)
    # Negative control: one observation that nobody accounts for must show.
    runtime.monitor.ledger.observed["hook"] += 1
    assert not balanced(samples_of(runtime.render()[1].decode()))


def test_stopping_drains_what_waits(detector: str):
    exporter = InferenceExporter(model="m", reference=detector, queue={"flush_interval_seconds": 30})
    for _ in range(100):
        exporter.runtime.submit(Observation("m", "hook", embedding=np.zeros(3)), "hook")
    exporter.stop()
    balance = exporter.runtime.monitor.ledger.balance()
    assert (balance.processed, balance.queued, balance.observed) == (100, 0, 100)
    assert exporter.runtime.submit(Observation("m", "hook"), "hook") is False
    assert exporter.runtime.monitor.ledger.balance().dropped["stopped"] == 1


async def test_the_95th_percentile_of_the_handler_s_histogram_is_right_within_a_bucket(
    serve: Any, monkeypatch: pytest.MonkeyPatch
):
    durations = np.random.default_rng(0).lognormal(np.log(0.06), 0.8, 400)
    ticks = iter([tick for duration in durations for tick in (0.0, duration / 2, duration)])
    client = serve()
    monkeypatch.setattr("prometheus_fastapi_instrumentator.middleware.default_timer", ticks.__next__)
    for _ in durations:
        await client.request()
    monkeypatch.undo()
    samples = await client.scrape()
    labels = {"handler": "/predict", "method": "POST"}
    counts = [
        samples["http_request_duration_seconds_bucket", frozenset({**labels, "le": str(bound)}.items())]
        for bound in HTTP_DURATION_BUCKETS
    ]
    rank = 0.95 * samples["http_request_duration_seconds_count", frozenset(labels.items())]
    index = next(index for index, count in enumerate(counts) if count >= rank)
    truth = float(np.quantile(durations, 0.95))
    assert HTTP_DURATION_BUCKETS[index - 1] < truth <= HTTP_DURATION_BUCKETS[index]


@pytest.mark.parametrize("ready", [True, False])
def test_a_scrape_waits_for_a_process_that_has_just_made_its_files(
    ready: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fresh = tmp_path / "counter_999.db"
    fresh.touch()
    if ready:
        monkeypatch.setattr("exporter.metrics.exposition.time.sleep", lambda _: fresh.unlink(missing_ok=True))
        assert render(CollectorRegistry(), shared_folder=tmp_path)[1] == b""
    else:
        monkeypatch.setattr("exporter.metrics.exposition.time.sleep", lambda _: None)
        with pytest.raises(struct.error):
            render(CollectorRegistry(), shared_folder=tmp_path)


def test_instrumenting_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "prometheus_fastapi_instrumentator", None)
    with pytest.raises(ConfigError, match=r"pip install 'inference-exporter\[fastapi\]'"):
        InferenceExporter(model="m").instrument(FastAPI())

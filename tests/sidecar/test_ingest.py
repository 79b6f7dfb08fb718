"""Ingest into a running sidecar, and hooks that send to it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporter import Config, ConfigError, InferenceExporter, load_config
from exporter.detectors import OnlineMMD
from exporter.observation import Observation
from exporter.runtime import Runtime
from exporter.sidecar.admin import admin_app
from exporter.sidecar.ingest import Ingest
from exporter.sidecar.server import ServerThread, listening
from tests.embedders.test_embedder import onnx_file
from tests.embedders.test_images import png
from tests.servers import get, request, wait_for


class Collecting:
    """An admin listener with ingest, in this process."""

    def __init__(self, config: Config) -> None:
        self.runtime = Runtime(config, sidecar=True)
        self.ingest = Ingest(self.runtime)
        app = admin_app(self.runtime, readiness=lambda: (True, "ready"), ingest=self.ingest.app)
        self.server = ServerThread(app, listening(config.admin.listen, "admin.listen"))
        self.runtime.start()
        self.server.start()

    @property
    def port(self) -> int:
        return int(self.server.address.rpartition(":")[2])

    def stop(self) -> None:
        self.server.stop()
        self.runtime.stop()

    def value(self, name: str, **labels: str) -> float:
        self.runtime.instruments.refresh()
        return self.runtime.registry.get_sample_value(name, {"version": "", **labels}) or 0.0


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    config = load_config(
        {"model": "m", "admin": {"listen": "127.0.0.1:0"}, "ingest": {"enabled": True}, "drift": []},
        environment={},
    )
    running = Collecting(config)
    yield running
    running.stop()


def post(port: int, path: str, document: object) -> tuple[int, str]:
    return request(port, "POST", path, json.dumps(document).encode(), {"content-type": "application/json"})


def test_observations_and_late_labels(collecting: Collecting) -> None:
    rows = [
        {"request_id": "a", "predicted_class": "cat", "confidence": 0.9},
        {"request_id": "b", "predicted_class": "dog", "confidence": 0.6},
    ]
    assert post(collecting.port, "/v1/observations", rows)[0] == 202
    wait_for(lambda: collecting.value("inference_exporter_processed_total", model="m") == 2)
    labels = [{"request_id": "a", "label": "cat"}, {"request_id": "b", "label": "cat"}]
    for _ in range(2):  # the second time they are duplicates
        assert post(collecting.port, "/v1/labels", labels)[0] == 202
    assert collecting.value("prediction_labelled_total", model="m", agreement="right") == 1
    assert collecting.value("prediction_labelled_total", model="m", agreement="wrong") == 1
    assert collecting.value("inference_exporter_labels_total", model="m", outcome="duplicate") == 2


@pytest.mark.parametrize("label", [1, 1.0, "1"])
@pytest.mark.parametrize("predicted", [1, 1.0, "1"])
def test_a_class_is_right_however_its_number_is_written(
    collecting: Collecting, predicted: object, label: object
) -> None:
    post(collecting.port, "/v1/labels", {"request_id": "n", "label": label})
    post(collecting.port, "/v1/observations", {"request_id": "n", "predicted_class": predicted})
    wait_for(lambda: collecting.value("inference_exporter_processed_total", model="m") == 1)
    assert collecting.value("prediction_labelled_total", model="m", agreement="right") == 1


def test_label_that_comes_first_waits(collecting: Collecting) -> None:
    post(collecting.port, "/v1/labels", {"request_id": "z", "label": "cat"})
    post(collecting.port, "/v1/observations", {"request_id": "z", "predicted_class": "cat"})
    wait_for(lambda: collecting.value("prediction_labelled_total", model="m", agreement="right") == 1)


def test_a_label_1_0_is_right_for_the_class_1(collecting: Collecting) -> None:
    post(collecting.port, "/v1/observations", {"request_id": "a", "predicted_class": 1})
    wait_for(lambda: collecting.value("inference_exporter_processed_total", model="m") == 1)
    post(collecting.port, "/v1/labels", {"request_id": "a", "label": 1.0})
    assert collecting.value("prediction_labelled_total", model="m", agreement="right") == 1
    assert collecting.value("prediction_labelled_total", model="m", agreement="wrong") == 0


def event(kind: str, identifier: str) -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-id": identifier,
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "content-type": "application/json",
    }


def post_event(collecting: Collecting, kind: str, body: bytes, identifier: str = "e1") -> int:
    headers = event(kind, identifier)
    return request(collecting.port, "POST", "/v1/observations", body, headers)[0]


def test_cloudevents_go_the_way_of_all_exchanges(collecting: Collecting) -> None:
    assert post_event(collecting, "request", b'{"instances": [[1.0], [2.0]]}') == 202
    assert post_event(collecting, "response", b'{"predictions": ["cat", "dog"]}') == 202
    wait_for(lambda: collecting.value("inference_exporter_processed_total", model="m") == 2)
    assert collecting.value("inference_exporter_observations_total", model="m", source="ingest") == 2
    # The i-th prediction of a batch is known by the event's id and its place.
    post(collecting.port, "/v1/labels", [{"request_id": "e1:0", "label": "cat"}])
    assert collecting.value("prediction_labelled_total", model="m", agreement="right") == 1


def test_cloudevents_that_hold_no_prediction_are_dropped_by_reason(collecting: Collecting) -> None:
    post_event(collecting, "response", b"<html>", "a")
    collecting.ingest.app.flush()
    dropped = "inference_exporter_dropped_total"
    wait_for(lambda: collecting.value(dropped, model="m", reason="unreadable") == 1)
    assert collecting.runtime.monitor.ledger.balance().balanced


def test_images_in_cloudevents_are_embedded_as_all_others_are(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).uniform(size=(100, 3))
    OnlineMMD.fit(colours, window=2, expected_run_length=1000, seed=0).save(tmp_path / "detector.npz")
    embedder = {"kind": "onnx", "path": onnx_file(tmp_path), "image": {"resize": 8, "crop": 8}}
    config = load_config(
        {
            "model": "m",
            "admin": {"listen": "127.0.0.1:0"},
            "ingest": {"enabled": True},
            "capture": {"embedder": embedder},
            "drift": [{"name": "colour", "reference": tmp_path / "detector.npz", "window": 2}],
        },
        environment={},
    )
    running = Collecting(config)
    try:
        for index in range(4):
            picture = base64.b64encode(png(color=(50 * index, 255, 0))).decode()
            post_event(running, "request", json.dumps({"image": picture}).encode(), f"e{index}")
            post_event(running, "response", b'{"prediction": "cat"}', f"e{index}")
        wait_for(lambda: running.value("drift_test_stat_count", model="m", detector="colour") >= 1)
    finally:
        running.stop()


def test_the_listener_answers_while_a_body_is_worked_on(collecting: Collecting) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def accepts(model: str) -> bool:
        begun.set()
        return go_on.wait(60)

    collecting.ingest.accepts = accepts  # type: ignore[method-assign]
    statuses: list[int] = []
    sender = threading.Thread(
        target=lambda: statuses.append(post(collecting.port, "/v1/observations", {"value": 1})[0])
    )
    sender.start()
    try:
        assert begun.wait(60)
        assert get(collecting.port, "/-/healthy") == (200, "healthy\n")
        assert get(collecting.port, "/metrics")[0] == 200
        assert statuses == []
    finally:
        go_on.set()
        sender.join()
    assert statuses == [202]


def test_posting_to_metrics_does_not_hide_the_scrape(collecting: Collecting) -> None:
    report = {
        "model_id": "m",
        "model_type": "classifier",
        "last_training_time": "2026-01-01T00:00:00Z",
        "predictions": [
            {
                "prediction_time": "2026-01-02T00:00:00Z",
                "record_id": "1",
                "prediction": "cat",
                "prediction_probability": 0.8,
                "ground_truth_label": "cat",
            }
        ],
    }
    assert post(collecting.port, "/metrics", report)[0] == 200
    assert post(collecting.port, "/metrics", report)[0] == 200  # idempotent
    wait_for(lambda: collecting.value("prediction_labelled_total", model="m", agreement="right") == 1)
    status, text = get(collecting.port, "/metrics")
    assert status == 200
    assert 'predicted_class_total{class_name="cat",model="m",version=""} 1.0' in text
    assert 'inference_exporter_ingest_requests_total{code="200",route="/metrics"} 2.0' in text


@pytest.fixture
def many() -> Iterator[Collecting]:
    """Two models by name, and any other up to three."""
    config = load_config(
        {
            "model": "auto",
            "models": {"a": {}, "b": {"version": "2"}},
            "max_models": 3,
            "drift": [],
            "admin": {"listen": "127.0.0.1:0"},
            "ingest": {"enabled": True},
        },
        environment={},
    )
    running = Collecting(config)
    yield running
    running.stop()


def test_any_of_the_models_is_taken_and_new_ones_up_to_the_bound(many: Collecting) -> None:
    names = ("a", "b", "c", "d", "e")
    rows = [{"model": name, "request_id": f"{name}1", "predicted_class": "cat"} for name in names]
    assert post(many.port, "/v1/observations", [*rows, {"predicted_class": "cat"}])[0] == 202
    labels = [{"model": name, "request_id": f"{name}1", "label": "cat"} for name in names]
    assert post(many.port, "/v1/labels", labels)[0] == 202

    def counted(metric: str, **more: str) -> dict[str, float]:
        versions = {"b": "2"}
        return {
            name: many.value(metric, model=name, version=versions.get(name, ""), **more)
            for name in ("a", "b", "c", "other", "model")
        }

    once = {"a": 1, "b": 1, "c": 1, "other": 2}
    wait_for(lambda: counted("inference_exporter_processed_total") == {**once, "model": 1})
    wait_for(lambda: counted("prediction_labelled_total", agreement="right") == {**once, "model": 0})
    events = (("request", b'{"inputs": []}'), ("response", b'{"model_name": "a", "predictions": ["cat"]}'))
    for kind, body in events:
        assert post_event(many, kind, body) == 202
    wait_for(lambda: many.value("inference_exporter_processed_total", model="a") == 2)


def test_a_name_that_is_none_is_refused_with_the_rule(many: Collecting) -> None:
    status, body = post(many.port, "/v1/observations", {"model": "a\nb", "predicted_class": "cat"})
    assert status == 422
    assert json.loads(body)["field"] == "model"
    assert "a line of 1 to 128 characters that can be printed" in json.loads(body)["error"]
    assert many.value("inference_exporter_observations_total", model="other", source="ingest") == 0


def test_versions_are_posted_where_exchanges_say_them() -> None:
    config = load_config(
        {
            "model": "m",
            "version": "auto",
            "drift": [],
            "admin": {"listen": "127.0.0.1:0"},
            "ingest": {"enabled": True},
        },
        environment={},
    )
    running = Collecting(config)
    hook = InferenceExporter(
        model="m", version="3", collector=f"http://127.0.0.1:{running.port}", isolation="thread"
    )
    try:
        row = {"predicted_class": "cat", "request_id": "r", "version": "2"}
        assert post(running.port, "/v1/observations", row)[0] == 202
        wait_for(lambda: running.value("inference_exporter_processed_total", model="m", version="2") == 1)
        post(running.port, "/v1/labels", {"request_id": "r", "label": "cat"})
        right = {"model": "m", "version": "2", "agreement": "right"}
        assert running.value("prediction_labelled_total", **right) == 1
        hook.runtime.submit(Observation("m", "hook", predicted_class="dog"), "hook")
        wait_for(lambda: running.value("inference_exporter_processed_total", model="m", version="3") == 1)
    finally:
        hook.stop()
        running.stop()


def test_another_model_is_refused_by_name(collecting: Collecting) -> None:
    status, body = post(collecting.port, "/v1/observations", {"model": "other", "predicted_class": "cat"})
    assert status == 422
    assert json.loads(body)["field"] == "model"


def test_hook_sends_to_the_collector_from_several_threads(collecting: Collecting) -> None:
    hook = InferenceExporter(model="m", collector=f"http://127.0.0.1:{collecting.port}")
    hook.start()

    def send(worker: int) -> None:
        for number in range(50):
            observation = Observation(
                "m", "hook", 1.0, predicted_class="cat", request_id=f"{worker}-{number}"
            )
            hook.runtime.submit(observation, "hook")

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hook.stop()
    wait_for(lambda: collecting.value("inference_exporter_processed_total", model="m") == 200)
    assert collecting.value("predicted_class_total", model="m", class_name="cat") == 200
    here = hook.registry.get_sample_value
    assert here("inference_exporter_forwarded_total") == 200
    assert here("inference_exporter_processed_total", {"model": "m", "version": ""}) == 200
    # What is counted there is not counted here too.
    assert here("predicted_class_total", {"model": "m", "version": "", "class_name": "cat"}) is None


def test_a_collector_is_given_its_own_token_and_never_the_one_of_here() -> None:
    config = {
        "model": "m",
        "admin": {"listen": "127.0.0.1:0", "token": "the-collectors"},
        "ingest": {"enabled": True},
    }
    collecting = Collecting(load_config(config, environment={}))
    url = f"http://127.0.0.1:{collecting.port}"
    here = InferenceExporter(
        model="m",
        admin={"token": "the-collectors"},
        collector=url,
        queue={"drain_seconds": 0.3},
        registry=CollectorRegistry(),
    )
    there = InferenceExporter(
        model="m",
        admin={"token": "another-one"},
        collector={"url": url, "token": "the-collectors"},
        queue={"drain_seconds": 30.0},
        registry=CollectorRegistry(),
    )
    for hook in (here, there):
        hook.start()
        hook.runtime.submit(Observation("m", "hook", 1.0, predicted_class="cat"), "hook")
        hook.stop()
    collecting.stop()
    assert here.registry.get_sample_value("inference_exporter_forwarded_total") == 0
    assert there.registry.get_sample_value("inference_exporter_forwarded_total") == 1


def test_a_collector_is_shown_the_token_that_is_meant_for_it_and_no_other() -> None:
    theirs, ours = "the-collectors-token", "the-token-of-this-host"
    config = load_config(
        {
            "model": "m",
            "admin": {"listen": "127.0.0.1:0", "token": theirs},
            "ingest": {"enabled": True},
        },
        environment={},
    )
    running = Collecting(config)
    url = f"http://127.0.0.1:{running.port}"
    try:
        for collector, sent in (({"url": url, "token": theirs}, 1), (url, 0)):
            hook = InferenceExporter(
                model="m",
                collector=collector,
                admin={"token": ours},
                queue={"drain_seconds": 30.0 if sent else 0.3},
                registry=CollectorRegistry(),
            )
            hook.start()
            hook.runtime.submit(Observation("m", "hook", 1.0, predicted_class="cat"), "hook")
            hook.stop()
            assert hook.registry.get_sample_value("inference_exporter_forwarded_total") == sent
    finally:
        running.stop()


def test_collector_away_is_bounded_and_counted() -> None:
    hook = InferenceExporter(
        model="m", collector="http://127.0.0.1:9", queue={"max_items": 5, "drain_seconds": 0.2}
    )
    hook.start()
    for _ in range(4):
        hook.runtime.submit(Observation("m", "hook", 1.0, predicted_class="cat"), "hook")
    hook.runtime.monitor.worker.drain(5)
    hook.stop()
    dropped = hook.registry.get_sample_value(
        "inference_exporter_forward_dropped_total", {"reason": "stopped"}
    )
    assert dropped == 4
    assert hook.runtime.monitor.ledger.balance().balanced


def test_collector_and_detectors_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="move drift to the collector's configuration"):
        InferenceExporter(model="m", collector="http://127.0.0.1:9109", reference=1000)

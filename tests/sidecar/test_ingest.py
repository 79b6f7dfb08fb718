"""Ingest into a running sidecar, and hooks that send to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import Config, ConfigError, InferenceExporter, load_config
from exporter.observation import Observation
from exporter.runtime import Runtime
from exporter.sidecar.admin import admin_app
from exporter.sidecar.ingest import Ingest
from exporter.sidecar.server import ServerThread
from tests.servers import get, request, wait_for


class Collecting:
    """An admin listener with ingest, in this process."""

    def __init__(self, config: Config) -> None:
        self.runtime = Runtime(config, sidecar=True)
        self.ingest = Ingest(self.runtime)
        app = admin_app(self.runtime, readiness=lambda: (True, "ready"), ingest=self.ingest.app)
        self.server = ServerThread(app, config.admin.listen, key="admin.listen")
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
        return self.runtime.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    config = load_config(
        {"model": "m", "admin": {"listen": "127.0.0.1:0"}, "ingest": {"enabled": True}}, environment={}
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


def test_label_that_comes_first_waits(collecting: Collecting) -> None:
    post(collecting.port, "/v1/labels", {"request_id": "z", "label": "cat"})
    post(collecting.port, "/v1/observations", {"request_id": "z", "predicted_class": "cat"})
    wait_for(lambda: collecting.value("prediction_labelled_total", model="m", agreement="right") == 1)


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
    assert 'predicted_class_total{class_name="cat",model="m"} 1.0' in text
    assert 'inference_exporter_ingest_requests_total{code="200",route="/metrics"} 2.0' in text


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
    assert here("inference_exporter_processed_total", {"model": "m"}) == 200
    # What is counted there is not counted here too.
    assert here("predicted_class_total", {"model": "m", "class_name": "cat"}) is None


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

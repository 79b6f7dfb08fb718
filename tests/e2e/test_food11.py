"""The tutorial's service as published, with the one line before, after and instead of its own."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.apps import Samples, samples_of, value
from tests.servers import free_port, get, process, request, wait_for

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
MODEL = {"model": "food11", "version": ""}
N = 40


class Service:
    """The service under uvicorn, and what a client of it saw."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log
        self.statuses: Counter[int] = Counter()
        self.predictions: list[tuple[str, float]] = []

    def predict(self, image: str) -> None:
        body = json.dumps({"image": image}).encode()
        status, text = request(self.port, "POST", "/predict", body, {"content-type": "application/json"})
        self.statuses[status] += 1
        if status == 200:
            said = json.loads(text)
            self.predictions.append((said["prediction"], said["probability"]))

    def use(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(N):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            self.predict(base64.b64encode(png.getvalue()).decode())
        for _ in range(3):
            self.predict("bad data")

    def scrape(self, path: str = "/metrics", **settled: str) -> Samples:
        def found() -> Samples | None:
            status, text = get(self.port, path)
            assert status == 200
            samples = samples_of(text)
            n = value(samples, "inference_exporter_processed_total", **MODEL)
            return samples if n == N or not settled else None

        return wait_for(found, 30, "the observations")


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "tests.e2e.food11_app:app"]
    environment = {**os.environ, **request.param, "OMP_NUM_THREADS": "1"}
    with process(command, log=log, env=environment, cwd=ROOT) as child:
        made = Service(port, log)
        try:
            wait_for(lambda: child.poll() is not None or get(port, "/docs")[0] == 200, 60, "the service")
            yield made
        except BaseException:
            print(log.read_text())
            raise


def assert_theirs(samples: Samples, service: Service) -> None:
    """All that the tutorial's page shows, each request once."""
    for status in (200, 400):
        labels = {"handler": "/predict", "method": "POST", "status": f"{status // 100}xx"}
        assert value(samples, "http_requests_total", **labels) == service.statuses[status]
    n = service.statuses.total()
    assert value(samples, "http_request_duration_seconds_count", handler="/predict", method="POST") == n
    assert value(samples, "http_request_size_bytes_count", handler="/predict") == n
    assert value(samples, "http_response_size_bytes_count", handler="/predict") == n
    assert value(samples, "http_request_duration_highr_seconds_count") is not None
    for name in ("python_info", "process_cpu_seconds_total", "python_gc_objects_collected_total"):
        assert any(name == found for found, _ in samples), name


def assert_ours(samples: Samples, service: Service) -> None:
    """All that the exporter counts, as the client saw it."""
    classes = Counter(name for name, _ in service.predictions)
    for name, n in classes.items():
        assert value(samples, "predicted_class_total", **MODEL, class_name=name) == n
    assert value(samples, "prediction_confidence_count", **MODEL) == N
    total = sum(confidence for _, confidence in service.predictions)
    assert value(samples, "prediction_confidence_sum", **MODEL) == pytest.approx(total)
    assert value(samples, "inference_exporter_observations_total", **MODEL, source="hook") == N
    assert value(samples, "inference_exporter_queued", **MODEL) == 0


@pytest.mark.parametrize("service", [{"ONE_LINE": "no"}], indirect=True, ids=["no"])
def test_without_the_one_line_it_shows_what_the_tutorial_says(service: Service):
    service.use()
    samples = service.scrape()
    assert service.statuses == {200: N, 400: 3}
    assert_theirs(samples, service)
    assert not [name for name, _ in samples if name.startswith(("inference_", "prediction_"))]


ORDERS: list[Any] = [{"ONE_LINE": where} for where in ("before", "after", "instead")]


@pytest.mark.parametrize("service", ORDERS, indirect=True, ids=["before", "after", "instead"])
def test_with_the_one_line_everything_is_there_and_counted_once(service: Service):
    service.use()
    assert service.statuses == {200: N, 400: 3}
    samples = service.scrape(settled="yes")
    assert_theirs(samples, service)
    assert_ours(samples, service)


@pytest.mark.parametrize("service", [{"ONE_LINE": "after", "BY_HAND": "1"}], indirect=True, ids=["by-hand"])
def test_metrics_of_the_same_names_stop_the_start_and_the_message_says_what_to_do(service: Service):
    wait_for(lambda: "ConfigError" in service.log.read_text(), 60, "the error")
    said = service.log.read_text()
    assert "registry: it holds prediction_confidence already, a histogram with no labels" in said
    assert 'registry=CollectorRegistry(), and expose(app, endpoint="/inference-metrics")' in said


APART: list[Any] = [{"ONE_LINE": where, "BY_HAND": "1", "APART": "1"} for where in ("before", "after")]


@pytest.mark.parametrize("service", APART, indirect=True, ids=["before", "after"])
def test_done_as_the_message_says_both_are_there(service: Service):
    service.use()
    ours = service.scrape("/inference-metrics", settled="yes")
    assert_ours(ours, service)
    theirs = service.scrape()
    assert_theirs(theirs, service)
    assert value(theirs, "prediction_confidence_count") == N
    for name, n in Counter(name for name, _ in service.predictions).items():
        assert value(theirs, "predicted_class_total", class_name=name) == n
    labels = {"handler": "/predict", "method": "POST", "status": "2xx"}
    assert value(ours, "http_requests_total", **labels) == N

"""Debian's Prometheus scrapes an instrumented service, and promtool reads what it is given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.detectors import OnlineMMD
from exporter.metrics.contract import (
    DETECTOR_STATES,
    DRIFT,
    DROP_REASONS,
    ERROR_STAGES,
    HTTP,
    LEDGER,
    OPERATION,
    PREDICTIONS,
    SOURCES,
)
from tests.servers import free_port, get, process, request, wait_for

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

# Metrics of prometheus-fastapi-instrumentator; what promtool has to say of them is not ours to change.
THEIRS = tuple(spec.name.removesuffix("_total") for spec in HTTP)
# No checkpoint is kept here, and what only a regression model has stays at zero.
ABSENT = {"drift_checkpoint_timestamp_seconds", "drift_checkpoint_failures_total"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a service, watched, after 50 predictions."""
    folder = tmp_path_factory.mktemp("service")
    rows = np.random.default_rng(1).standard_normal((200, 4))
    OnlineMMD.fit(rows, window=10, seed=0).save(folder / "detector.npz")
    port = free_port()
    environment = {**os.environ, "TEST_REFERENCE": str(folder / "detector.npz"), "OMP_NUM_THREADS": "1"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "tests.e2e.hook_app:app"]
    with process(command, log=folder / "log", env=environment, cwd=ROOT):
        wait_for(lambda: get(port, "/metrics"), 60, "the service")
        for _ in range(50):
            assert request(port, "POST", "/predict")[0] == 200
        yield port


@pytest.fixture(scope="module")
def prometheus(service: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Prometheus that has scraped the service."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {"job_name": "service", "static_configs": [{"targets": [f"127.0.0.1:{service}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with process(command, log=folder / "log"):
        wait_for(lambda: get(port, "/-/ready")[0] == 200, 60, "Prometheus")
        wait_for(lambda: query(port, "count_over_time(up[1m]) >= 3"), 60, "the third scrape")
        yield port


def query(port: int, expression: str) -> list[dict[str, Any]]:
    status, text = get(port, f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert status == 200, text
    return json.loads(text)["data"]["result"]


def number(port: int, expression: str) -> float:
    (only,) = query(port, expression)
    return float(only["value"][1])


def test_the_target_is_up_and_nothing_of_it_was_refused(prometheus: int):
    assert number(prometheus, "up") == 1
    assert number(prometheus, "scrape_samples_scraped - scrape_samples_post_metric_relabeling") == 0
    _, text = get(prometheus, "/api/v1/targets")
    (target,) = json.loads(text)["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_every_metric_of_the_contract_arrives(prometheus: int):
    for spec in (*PREDICTIONS, *DRIFT, *LEDGER, *OPERATION, *HTTP):
        name = f"{spec.name}_count" if spec.type in ("histogram", "summary") else spec.name
        assert bool(query(prometheus, name)) is (spec.name not in ABSENT), spec.name


def test_label_sets_that_are_known_beforehand_are_there(prometheus: int):
    for expression, n in (
        ("inference_exporter_dropped_total", len(DROP_REASONS)),
        ("inference_exporter_errors_total", len(ERROR_STAGES)),
        ("inference_exporter_observations_total", len(SOURCES)),
        ("drift_detector_state", len(DETECTOR_STATES)),
    ):
        assert number(prometheus, f"count({expression})") == n, expression


def test_the_numbers_are_those_of_the_traffic(prometheus: int):
    assert number(prometheus, "sum(predicted_class_total)") == 50
    assert number(prometheus, "prediction_confidence_count") == 50
    assert number(prometheus, "drift_test_stat_count") == 41
    assert number(prometheus, 'drift_detector_state{state="ready"}') == 1
    assert number(prometheus, 'http_requests_total{handler="/predict",status="2xx"}') == 50
    ledger = (
        "sum(inference_exporter_observations_total) - sum(inference_exporter_processed_total)"
        " - sum(inference_exporter_dropped_total) - sum(inference_exporter_sampled_out_total)"
        " - sum(inference_exporter_queued)"
    )
    assert number(prometheus, ledger) == 0
    quantile = "histogram_quantile(0.95, sum by (le) (http_request_duration_seconds_bucket))"
    assert 0 < number(prometheus, quantile) <= 10


def complaints(text: str) -> list[str]:
    """What promtool has to say, except of metrics that are not ours."""
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    said = (result.stdout + result.stderr).splitlines()
    return [line for line in said if not line.startswith(THEIRS)]


def test_promtool_finds_nothing(service: int):
    _, text = get(service, "/metrics")
    assert complaints(text) == []


def test_promtool_would_find_something():
    assert complaints("# HELP requests a counter\n# TYPE requests counter\nrequests 1\n")
    assert complaints('broken{label="\n')


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_both_formats_are_served(service: int, accept: str):
    status, text = get(service, "/metrics", {"accept": accept})
    assert status == 200
    assert text.endswith("# EOF\n") is bool(accept)

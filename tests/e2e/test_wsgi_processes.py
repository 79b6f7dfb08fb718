"""Flask under gunicorn: the same bytes with us as without, and one account over its processes and threads."""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.detectors import OnlineMMD
from tests.servers import free_port, get, process, wait_for

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SERVERS = {
    "sync": ["-w", "2"],
    "gthread": ["-w", "2", "-k", "gthread", "--threads", "4"],
    "preload": ["-w", "2", "--preload"],
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "detector.npz"
    OnlineMMD.fit(np.random.default_rng(1).standard_normal((200, 4)), window=10, seed=0).save(path)
    return path


@pytest.fixture(params=SERVERS)
def ports(request: pytest.FixtureRequest, reference: Path, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Of the service with us, and of the same without."""
    shared = tmp_path / "shared"
    shared.mkdir()
    environment = {**os.environ, "TEST_REFERENCE": str(reference), "OMP_NUM_THREADS": "1"}
    ours, bare = free_port(), free_port()
    command = [sys.executable, "-m", "gunicorn", "tests.e2e.wsgi_app:app", *SERVERS[request.param], "-b"]
    with (
        process(
            [*command, f"127.0.0.1:{ours}"],
            log=tmp_path / "ours",
            env={**environment, "PROMETHEUS_MULTIPROC_DIR": str(shared)},
            cwd=ROOT,
        ),
        process(
            [*command, f"127.0.0.1:{bare}"],
            log=tmp_path / "bare",
            env={**environment, "TEST_BARE": "1"},
            cwd=ROOT,
        ),
    ):
        try:
            for port in (ours, bare):
                wait_for(lambda port=port: get(port, "/nothing")[0] == 404, 60, "the server")
            yield ours, bare
        except BaseException:
            print((tmp_path / "ours").read_text(), (tmp_path / "bare").read_text())
            raise


def ask(port: int, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers but for those that differ in any case, and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()
    finally:
        connection.close()


def alike(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name not in ("date", "x-pid")}, body


def samples(port: int) -> dict[tuple[str, frozenset[Any]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(get(port, "/metrics")[1])
        for sample in family.samples
    }


def total(found: dict[tuple[str, frozenset[Any]], float], name: str, **labels: str) -> float:
    return sum(
        value
        for (known, its), value in found.items()
        if known == name and labels.items() <= dict(its).items()
    )


def test_flask_answers_the_same_and_everything_is_counted(ports: tuple[int, int]):
    ours, bare = ports
    pids: set[str] = set()
    lock = threading.Lock()

    def work() -> None:
        for x in range(30):
            body = json.dumps({"x": x}).encode()
            answer = ask(ours, "/predict", body)
            with lock:
                pids.add(answer[1]["x-pid"])
            assert alike(answer) == alike(ask(bare, "/predict", body))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    n = 120
    for _ in range(4):
        streamed = ask(ours, "/predict/stream", b"{}")
        assert alike(streamed) == alike(ask(bare, "/predict/stream", b"{}"))
        assert streamed[1]["transfer-encoding"] == "chunked"
    assert alike(ask(ours, "/predict", b"no json")) == alike(ask(bare, "/predict", b"no json"))
    wait_for(lambda: total(samples(ours), "inference_exporter_processed_total") == n + 4, 60, "all of it")
    found = samples(ours)
    assert total(found, "predicted_class_total", class_name="class 1") == n / 3
    assert total(found, "predicted_class_total", class_name="streamed") == 4
    assert total(found, "http_requests_total", handler="/predict", status="2xx") == n
    assert total(found, "http_requests_total", handler="/predict", status="4xx") == 1
    assert total(found, "http_requests_total", handler="/predict/*", status="2xx") == 4
    assert total(found, "inference_exporter_dropped_total") == 0
    assert total(found, "drift_test_stat_count") == n - 9 * len(pids)

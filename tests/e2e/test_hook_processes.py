"""The hook under servers with several processes: forked before or after the app was made, sharing or not."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from exporter.detectors import OnlineMMD
from tests.servers import free_port, process, wait_for

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

SERVERS = {
    "uvicorn": ["uvicorn", "--workers", "2", "--log-level", "warning", "--port", "{port}"],
    "gunicorn": ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", "127.0.0.1:{port}"],
    "gunicorn-preload": [
        *("gunicorn", "--preload", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", "127.0.0.1:{port}"),
    ],
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "detector.npz"
    rows = np.random.default_rng(1).standard_normal((200, 4))
    OnlineMMD.fit(rows, window=10, seed=0).save(path)
    return path


class Server:
    """A server with two workers."""

    def __init__(self, child: Any, port: int, *, keeps_theirs: bool = False) -> None:
        self.child, self.port, self.keeps_theirs = child, port, keeps_theirs

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """The process that answered, and what it said; on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            if answer.status == 500 and path == "/metrics" and self.keeps_theirs:
                # Its handler does not try again where a new process has made its files, and not yet written.
                raise OSError("the Instrumentator's handler met a file that is empty yet")
            assert answer.status == 200
            return int(answer.headers["x-pid"]), answer.read().decode()
        finally:
            connection.close()

    def predict(self, n: int) -> Counter[int]:
        """How many of ``n`` predictions each process made."""
        return Counter(self.ask("POST", "/predict")[0] for _ in range(n))

    def both(self) -> set[int]:
        """The two workers, once both answer."""
        pids: set[int] = set()

        def found() -> bool:
            for _ in range(20):
                pids.add(self.ask("GET", "/metrics")[0])
            return len(pids) >= 2

        wait_for(found, 60, "an answer from each worker")
        return pids


@pytest.fixture(params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(request: pytest.FixtureRequest, kind: str, reference: Path, tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    shared, instrumentator = getattr(request, "param", (False, ""))
    environment = {**os.environ, "TEST_REFERENCE": str(reference), "OMP_NUM_THREADS": "1"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    environment["TEST_INSTRUMENTATOR"] = instrumentator
    if shared:
        (tmp_path / "shared").mkdir()
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "shared")
    name, *options = [part.format(port=port) for part in SERVERS[kind]]
    command = [sys.executable, "-m", name, *options, "tests.e2e.hook_app:app"]
    with process(command, log=tmp_path / "log", env=environment, cwd=ROOT) as child:
        made = Server(child, port, keeps_theirs=shared and bool(instrumentator))
        try:
            wait_for(lambda: made.ask("GET", "/metrics"), 60, "the server")
            yield made
        except BaseException:
            print((tmp_path / "log").read_text())
            raise


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str) -> float:
    return sum(value for (known, _), value in samples.items() if known == name)


def predictions(samples: Samples) -> float:
    """Requests for a prediction, as the HTTP metrics count them."""
    labels = frozenset({"handler": "/predict", "method": "POST", "status": "2xx"}.items())
    return samples["http_requests_total", labels]


def balanced(samples: Samples) -> bool:
    prefix = "inference_exporter_"
    rest = ("processed_total", "dropped_total", "sampled_out_total", "queued")
    return total(samples, f"{prefix}observations_total") == sum(
        total(samples, prefix + name) for name in rest
    )


def settled(samples: Samples, n: int) -> bool:
    """Whether all of ``n`` observations were handled."""
    names = ("inference_exporter_observations_total", "inference_exporter_processed_total")
    return all(total(samples, name) == n for name in names)


def test_each_process_scrapes_what_it_did_itself(server: Server):
    pids = server.both()
    done = server.predict(100)
    assert set(done) <= pids
    seen: dict[int, Samples] = {}

    def all_settled() -> bool:
        for _ in range(20):
            pid, text = server.ask("GET", "/metrics")
            seen[pid] = samples_of(text)
            assert balanced(seen[pid])
        return seen.keys() >= pids and all(settled(seen[pid], done[pid]) for pid in pids)

    wait_for(all_settled, 20, "both processes' accounts")
    for pid in pids:
        assert total(seen[pid], "predictions_made_total") == done[pid]
        assert predictions(seen[pid]) == done[pid]
        assert total(seen[pid], "python_info") == 1
        assert total(seen[pid], "prediction_confidence_count") == done[pid]
        assert total(seen[pid], "drift_test_stat_count") == max(0, done[pid] - 9)
        assert total(seen[pid], "predicted_class_total") == done[pid]


SHARED = [(True, ""), (True, "before"), (True, "after")]


@pytest.mark.parametrize("server", SHARED, indirect=True, ids=["ours", "after-theirs", "before-theirs"])
def test_processes_that_share_a_folder_scrape_their_sum_also_after_one_died(server: Server, tmp_path: Path):
    pids = server.both()
    done = server.predict(100)

    def scraped(n: int) -> Samples:
        latest: dict[str, Samples] = {}

        def found() -> bool:
            latest["samples"] = samples_of(server.ask("GET", "/metrics")[1])
            return settled(latest["samples"], n)

        # While another process is writing, its files are of no single instant: the sum is right at rest.
        wait_for(found, 20, f"a sum of {n}")
        assert balanced(latest["samples"])
        return latest["samples"]

    first = scraped(100)
    assert total(first, "predicted_class_total") == 100
    assert total(first, "prediction_confidence_count") == 100
    assert total(first, "drift_test_stat_count") == sum(max(0, done[pid] - 9) for pid in pids)
    assert predictions(first) == 100
    assert total(first, "predictions_made_total") == 100
    assert {value for (name, _), value in first.items() if name == "drift_threshold"} != {0.0}

    victim = min(pids)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in server.both(), 60, "another worker")
    second = scraped(100)
    assert total(second, "predicted_class_total") == 100
    server.predict(40)
    third = scraped(140)
    assert total(third, "inference_exporter_queued") == 0

    # What is asked just before the end is handled before the end.
    server.predict(30)
    server.child.send_signal(signal.SIGTERM)
    assert server.child.wait(30) in (0, -signal.SIGTERM)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path / "shared"))
    left = samples_of(generate_latest(registry).decode())
    assert total(left, "inference_exporter_processed_total") == 170
    assert total(left, "inference_exporter_observations_total") == 170


def test_a_server_that_reloads_starts_anew_with_all_its_metrics(reference: Path, tmp_path: Path):
    """uvicorn --reload: a process ends, and another one imports the application."""
    port = free_port()
    watched = tmp_path / "watched"
    watched.mkdir()
    (watched / "service.py").write_text("from tests.e2e.hook_app import app\n")
    environment = {**os.environ, "TEST_REFERENCE": str(reference), "TEST_INSTRUMENTATOR": "after"}
    environment["PYTHONPATH"] = os.pathsep.join([str(watched), str(ROOT)])
    options = ["--reload", "--reload-dir", str(watched), "--port", str(port), "service:app"]
    with process(
        [sys.executable, "-m", "uvicorn", *options], log=tmp_path / "log", env=environment, cwd=ROOT
    ) as child:
        server = Server(child, port)
        (first,) = {wait_for(lambda: server.ask("GET", "/metrics")[0], 60, "the server")}
        server.predict(5)
        (watched / "service.py").write_text("from tests.e2e.hook_app import app  # edited\n")
        # While one ends and the other starts, a connection may be refused or broken off.
        wait_for(lambda: server.ask("GET", "/metrics")[0] != first, 60, "another process")
        server.predict(7)

        def all_settled() -> Samples | None:
            found = samples_of(server.ask("GET", "/metrics")[1])
            return found if settled(found, 7) else None

        samples = wait_for(all_settled, 20, "the account")
        assert balanced(samples)
        assert predictions(samples) == total(samples, "predictions_made_total") == 7

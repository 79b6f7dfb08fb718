"""A process without HTTP: it records, waits until all is counted, is scraped, and pushes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from exporter.errors import ConfigError
from exporter.hook import InferenceExporter
from exporter.receivers.scrape import MetricsServer
from tests.servers import get, request, wait_for
from tests.streams import D, normal

LEDGER = "inference_exporter_"


@pytest.fixture
def make() -> Iterator[Callable[..., InferenceExporter]]:
    made: list[InferenceExporter] = []

    def build(**settings: Any) -> InferenceExporter:
        settings = {"model": "m", "registry": CollectorRegistry(), "drift": [], **settings}
        made.append(InferenceExporter(**settings))
        return made[-1]

    yield build
    for each in made:
        each.stop()


def sample(exporter: InferenceExporter, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return sum(
        each.value
        for metric in exporter.registry.collect()
        for each in metric.samples
        if each.name == name and labels.items() <= each.labels.items()
    )


def account(exporter: InferenceExporter) -> dict[str, float]:
    balance = exporter.runtime.monitor.ledger.balance()
    assert balance.balanced
    assert sample(exporter, f"{LEDGER}observations_total", source="record") == balance.observed
    return {"processed": balance.processed, "queued": balance.queued, **balance.dropped}


def test_a_record_is_counted_and_tested(make: Any, tmp_path: Path):
    np.save(tmp_path / "reference.npy", normal(200))
    entry = {"reference": str(tmp_path / "reference.npy"), "window": 2, "expected_run_length": 50}
    exporter = make(drift=[entry])
    exporter.start()
    (watch,) = exporter.runtime.pipeline.processors[1].watches
    assert watch.join_calibration(20)
    for n in range(3):
        assert exporter.record(
            predicted_class="cat",
            confidence=0.75,
            value=n,
            embedding=torch.full((D,), 9.0 + n, requires_grad=True),  # a repeat would not be tested
            features={"age": 3},
            request_id=n,
        )
    assert exporter.flush(20)
    assert account(exporter) == {"processed": 3, "queued": 0}
    assert sample(exporter, "predicted_class_total", class_name="cat") == 3
    assert sample(exporter, "prediction_value_count") == 3
    assert sample(exporter, "drift_test_stat_count") == 2
    assert sample(exporter, "drift_active") == 1


def test_a_batch_is_what_its_rows_are_one_by_one(make: Any, tmp_path: Path):
    np.save(tmp_path / "reference.npy", normal(200))
    entry = {"reference": str(tmp_path / "reference.npy"), "window": 5, "expected_run_length": 50}
    one, many = make(drift=[entry]), make(drift=[entry])
    rows = normal(300, seed=3)
    classes = [f"c{n % 7}" for n in range(300)]
    confidence = np.linspace(0, 1, 300)
    for exporter in (one, many):
        exporter.start()
        assert exporter.runtime.pipeline.processors[1].watches[0].join_calibration(20)
    for row, name, number in zip(rows, classes, confidence, strict=True):
        one.record(embedding=row, predicted_class=name, confidence=number)
    assert many.record_batch(embedding=rows, predicted_class=classes, confidence=confidence) == 300
    assert one.flush(20)
    assert many.flush(20)
    assert account(one) == account(many) == {"processed": 300, "queued": 0}
    shown = [
        {
            (each.name, *each.labels.values()): pytest.approx(each.value)
            for metric in exporter.registry.collect()
            for each in metric.samples
            if not any(word in each.name for word in ("seconds", "timestamp", "queue", "threshold", "ratio"))
        }
        for exporter in (one, many)
    ]
    assert shown[0] == shown[1]
    assert sample(many, "drift_test_stat_count") == 296


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"confidence": "high"}, ("confidence", "wrong_type")),
        ({"confidence": 1.5}, ("confidence", "out_of_range")),
        ({"value": float("nan")}, ("value", "not_finite")),
        ({"embedding": "a text"}, ("embedding", "wrong_type")),
        ({"embedding": [[1.0], [1.0, 2.0]]}, ("embedding", "wrong_type")),
        ({"embedding": torch.ones(3, device="meta")}, ("embedding", "wrong_type")),
        ({"predicted_class": object()}, ("predicted_class", "wrong_type")),
    ],
)
def test_what_is_no_data_is_refused_once_and_said_once(
    given: dict[str, Any], refused: tuple[str, str], make: Any, caplog: pytest.LogCaptureFixture
):
    exporter = make()
    ((name, bad),) = given.items()
    good = {"value": 1.0} if name != "value" else {"predicted_class": "cat"}
    for _ in range(2):
        assert exporter.record(**given, **good)
        assert not exporter.record(**given)
    assert (
        exporter.record_batch(**{name: [bad, bad]}, **{key: [value] * 2 for key, value in good.items()}) == 2
    )
    assert exporter.record_batch(**{name: bad}) == 0 or name == "embedding"
    assert exporter.flush(20)
    field, reason = refused
    assert sample(exporter, f"{LEDGER}invalid_values_total", field=field, reason=reason) >= 4
    assert account(exporter)["processed"] >= 4
    said = [
        record.message
        for record in caplog.records
        if record.message.startswith("record: ") and field in record.message
    ]
    assert len(said) == 1
    assert "said once" in said[0]
    assert sample(exporter, f"{LEDGER}errors_total") == 0


def test_columns_of_different_lengths_are_dropped_and_named(make: Any, caplog: pytest.LogCaptureFixture):
    exporter = make()
    assert exporter.record_batch(confidence=[0.5, 0.5], predicted_class=["a", "b", "c"]) == 0
    assert account(exporter) == {"processed": 0, "queued": 0, "unreadable": 3}
    assert "predicted_class has 3, confidence has 2" in caplog.text


def test_nothing_is_no_prediction(make: Any, caplog: pytest.LogCaptureFixture):
    exporter = make()
    assert not exporter.record()
    assert not exporter.record(request_id="a")
    assert exporter.record_batch(request_id=["a", "b"]) == 0
    assert exporter.record_batch() == 0
    assert exporter.record_batch(value=[]) == 0
    assert account(exporter) == {"processed": 0, "queued": 0, "no_prediction": 4}
    assert len([r for r in caplog.records if "nothing that was given is a prediction" in r.message]) == 2


def test_what_a_small_queue_has_no_place_for_is_dropped_row_by_row(make: Any):
    exporter = make(queue={"max_items": 20, "flush_interval_seconds": 30})
    assert exporter.record_batch(value=np.arange(50.0)) == 20
    assert exporter.record_batch(value=np.arange(5.0)) == 0
    assert exporter.flush(20)
    assert account(exporter) == {"processed": 20, "queued": 0, "queue_full": 35}
    assert sample(exporter, "prediction_value_count") == 20


def test_bytes_bound_a_batch_too(make: Any):
    exporter = make(queue={"max_bytes": 100_000, "flush_interval_seconds": 30})
    queued = exporter.record_batch(embedding=np.ones((1000, 64), np.float32))
    assert 300 < queued < 400
    assert exporter.runtime.monitor.worker.queued_bytes <= 100_000
    assert exporter.flush(20)
    assert account(exporter) == {"processed": queued, "queued": 0, "queue_bytes": 1000 - queued}


def test_a_batch_job_may_wait_for_place(make: Any):
    exporter = make(queue={"max_items": 20, "flush_interval_seconds": 0.001})
    assert exporter.record_batch(value=np.arange(500.0), wait_seconds=20) == 500
    assert exporter.flush(20)
    assert account(exporter) == {"processed": 500, "queued": 0}


def test_a_flush_does_not_wait_for_the_interval_nor_for_those_who_come_later(make: Any):
    exporter = make(queue={"flush_interval_seconds": 60})
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            exporter.record(value=1.0)
            stop.wait(0.0005)

    exporter.record(value=1.0)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert exporter.flush(20)
    finally:
        stop.set()
        thread.join()
    assert exporter.flush()


def test_a_flush_says_when_the_time_was_not_enough(make: Any, monkeypatch: pytest.MonkeyPatch):
    exporter = make()
    held = threading.Event()
    monkeypatch.setattr(exporter.runtime.monitor.handler, "handle", lambda tally, batch: held.wait(20))
    exporter.record(value=1.0)
    assert not exporter.flush(0.05)
    held.set()
    assert exporter.flush(20)


def test_many_threads_and_tasks_record(make: Any):
    exporter = make()

    def work() -> None:
        for _ in range(100):
            exporter.record(predicted_class="thread")
            exporter.record_batch(predicted_class=["batch"] * 3)

    async def tasks() -> None:
        async def one() -> None:
            exporter.record(predicted_class="task")
            await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(100)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert exporter.flush(20)
    assert account(exporter) == {"processed": 1700, "queued": 0}
    assert sample(exporter, "predicted_class_total", class_name="task") == 100
    assert sample(exporter, "predicted_class_total", class_name="batch") == 1200


@pytest.mark.parametrize("isolated", [True])
def test_the_helper_process_counts_batches_as_well(isolated: bool, make: Any, tmp_path: Path):
    exporter = make(isolation="process")
    assert exporter.record_batch(predicted_class=["a", "b", "a"], embedding=np.ones((3, 2))) == 3
    assert exporter.record(predicted_class="b")
    assert exporter.flush(60)
    assert account(exporter) == {"processed": 4, "queued": 0}
    assert sample(exporter, "predicted_class_total", class_name="a") == 2
    assert exporter.runtime.helper is not None
    os.kill(exporter.runtime.helper.pid, 9)
    exporter.record_batch(predicted_class=["a"] * 5)
    assert exporter.flush(60)
    assert sum(account(exporter).values()) == 9


def test_each_model_has_an_account_of_its_own(make: Any):
    exporter = make(model="auto", max_models=2)
    assert exporter.record(model="cats", version="2", confidence=0.5)
    assert exporter.record_batch(model="dogs", confidence=[0.5, 0.25, 7.0]) == 3
    assert exporter.record_batch(model="birds", confidence=[0.5] * 4) == 4
    assert exporter.record_batch(model=np.ones(3), confidence=[0.5] * 5) == 5
    assert exporter.record_batch(model="dogs", confidence=[0.5], value=[1, 2]) == 0
    assert exporter.flush(20)
    for name, n in (("cats", 1), ("dogs", 3), ("other", 9)):
        assert sample(exporter, f"{LEDGER}processed_total", model=name) == n
    assert sample(exporter, f"{LEDGER}dropped_total", model="dogs", reason="unreadable") == 2
    assert sample(exporter, f"{LEDGER}invalid_values_total", model="dogs", reason="out_of_range") == 1


def in_child(work: Callable[[], bool]) -> bool:
    """Whether it is true in a forked child."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child
        good = False
        try:
            good = work()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_after_a_fork_the_child_records_on_its_own_account(make: Any):
    exporter = make()
    exporter.record(value=1.0)
    assert exporter.flush(20)

    def work() -> bool:
        exporter.record(value=1.0)
        exporter.record_batch(value=[1.0, 2.0])
        return exporter.flush(20) and account(exporter) == {"processed": 3, "queued": 0}

    assert in_child(work)
    assert account(exporter) == {"processed": 1, "queued": 0}


_JOB = """
import numpy as np
from prometheus_client import CollectorRegistry
from exporter import InferenceExporter
exporter = InferenceExporter(model="job", isolation={isolation!r}, queue={{"flush_interval_seconds": 60}},
                             registry=CollectorRegistry(), drift=[])
exporter.record_batch(value=np.arange(100.0))
import atexit
atexit._run_exitfuncs()
print(exporter.runtime.monitor.ledger.balance().processed)
"""


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_at_the_end_of_the_interpreter_what_waits_is_handled(isolation: str):
    done = subprocess.run(
        [sys.executable, "-c", _JOB.format(isolation=isolation)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "INFERENCE_EXPORTER__QUEUE__DRAIN_SECONDS": "40"},
    )
    assert done.stdout == "100\n", done.stderr
    assert done.stderr == ""


def test_an_exporter_that_nobody_has_any_more_is_not_kept_for_the_end(make: Any):
    exporter = InferenceExporter(model="m", registry=CollectorRegistry(), drift=[], isolation="thread")
    exporter.record(value=1.0)
    exporter.stop()
    seen = threading.Event()
    import weakref

    weakref.finalize(exporter, seen.set)
    del exporter
    gc.collect()
    assert seen.is_set()


@pytest.mark.parametrize("word", ["false", "0"])
def test_switched_off_it_costs_nothing(word: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENABLE_METRICS", word)
    exporter = InferenceExporter(config="there is no such file")
    assert not exporter.record(value=1.0)
    assert exporter.record_batch(value=[1.0]) == 0
    assert exporter.flush(0)
    assert not exporter.push("http://127.0.0.1:9", "job")
    with exporter.serve(0) as server:
        assert get(server.port, "/metrics") == (200, "")
    assert "runtime" not in vars(exporter)


def test_metrics_are_served(make: Any):
    exporter = make()
    exporter.record(predicted_class="cat")
    assert exporter.flush(20)
    with exporter.serve(0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        status, text = get(server.port, "/metrics")
        assert status == 200
        assert 'class_name="cat"' in text
        assert list(text_string_to_metric_families(text))
        openmetrics = {"accept": "application/openmetrics-text; version=1.0.0"}
        assert get(server.port, "/metrics", openmetrics)[1].endswith("# EOF\n")
        assert get(server.port, "/-/healthy") == (200, "OK\n")
        assert "/metrics" in get(server.port, "/")[1]
        assert get(server.port, "/other")[0] == 404
        assert request(server.port, "POST", "/metrics", b"x")[0] == 405
        assert request(server.port, "HEAD", "/metrics") == (200, "")
        with pytest.raises(
            ConfigError, match=rf"serve: nobody can listen on 127.0.0.1:{server.port} .*give another"
        ):
            exporter.serve(server.port)
    with pytest.raises(OSError, match="refused"):
        get(server.port, "/metrics")
    server.close()


def test_a_client_that_says_nothing_keeps_nobody_waiting(make: Any):
    import socket

    with make().serve(0) as server, socket.create_connection(("127.0.0.1", server.port)):
        assert get(server.port, "/metrics")[0] == 200
    assert isinstance(server, MetricsServer)


class Gateway(ThreadingHTTPServer):
    """What of a Pushgateway its clients see: PUT and POST of a group's metrics."""

    def __init__(self, status: int = 202) -> None:
        self.pushed: list[tuple[str, str, str]] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                gateway.pushed.append((self.command, self.path, body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


def test_a_job_pushes_what_it_has_counted(make: Any):
    exporter = make()
    exporter.record_batch(predicted_class=["cat", "dog"])
    assert exporter.flush(20)
    with Gateway() as gateway:
        assert exporter.push(gateway.url, "nightly", {"shard": "a/b"})
    ((method, path, body),) = gateway.pushed
    assert method == "POST"
    assert path == "/metrics/job/nightly/shard@base64/YS9i"
    names = {metric.name for metric in text_string_to_metric_families(body)}
    assert {"predicted_class", "inference_exporter_observations"} <= names


def test_a_push_that_fails_is_said_and_not_raised(make: Any, caplog: pytest.LogCaptureFixture):
    exporter = make()
    with Gateway(500) as gateway:
        assert not exporter.push(gateway.url, "job")
    assert not exporter.push(gateway.url, "job", timeout=5)
    assert not exporter.push("no url", "job")
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert all("push: the metrics of job 'job' could not be sent to" in error for error in errors)


def test_a_bare_call_returns_at_once(make: Any):
    """The caller's side of a record is microseconds, whatever the worker does: here, nothing for a minute."""
    exporter = make(queue={"flush_interval_seconds": 60})
    exporter.record(value=1.0)
    started = time.perf_counter()
    for _ in range(1000):
        exporter.record(value=1.0)
    assert time.perf_counter() - started < 5
    wait_for(lambda: exporter.flush(0.1))

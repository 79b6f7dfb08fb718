"""A helper process does what a thread would do, and its death costs a batch and nothing else."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import exporter.drift.watch
import exporter.processes.helper
from exporter.config import CaptureConfig, Config, LearnConfig, MMDConfig, QueueConfig
from exporter.detectors import OnlineMMD
from exporter.errors import ConfigError, InvalidReference
from exporter.http.exchange import Exchange
from exporter.observation import DriftEvent, Observation
from exporter.processes.child import Heartbeat
from exporter.processes.framing import Beat, Link
from exporter.processes.helper import HelperProcess
from exporter.processes.supervisor import RULES
from exporter.runtime import Runtime
from tests.streams import Samples, normal, observations

WAIT = 60.0
# What depends on the clock.
TIMED = ("inference_exporter_detect_seconds", "inference_exporter_lag_seconds", "drift_last_test_timestamp")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "detector.npz"
    OnlineMMD.fit(normal(200), window=5, expected_run_length=1000, seed=0).save(path)
    return path


def config(*drift: MMDConfig, **queue: Any) -> Config:
    return Config(
        model="m",
        drift=drift,
        queue=QueueConfig(**{"flush_interval_seconds": 0.001, "drain_seconds": 30.0} | queue),
    )


@pytest.fixture
def make() -> Iterator[Callable[..., Runtime]]:
    made: list[Runtime] = []

    def new(*args: Any, isolated: bool = True, **settings: Any) -> Runtime:
        made.append(Runtime(*args, isolated=isolated, **settings))
        made[-1].start()
        return made[-1]

    yield new
    for runtime in made:
        runtime.stop()


def helper(runtime: Runtime) -> HelperProcess:
    assert runtime.helper is not None
    return runtime.helper


def send(runtime: Runtime, items: list[Any]) -> None:
    for item in items:
        assert runtime.submit(item, "hook")
    assert runtime.monitor.worker.drain(WAIT)


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def balance(runtime: Runtime) -> tuple[int, int, dict[str, int], int, int]:
    outcomes = runtime.monitor.ledger.balance()
    assert outcomes.balanced
    return outcomes.observed, outcomes.processed, outcomes.dropped, outcomes.sampled_out, outcomes.queued


def exchange(answer: Any) -> Exchange:
    made = Exchange("POST", "/predict", max_body_bytes=4096, started=1.0)
    made.response_start(200, ((b"content-type", b"application/json"),))
    made.response_chunk(answer if isinstance(answer, bytes) else orjson.dumps(answer))
    made.finish(2.0)
    return made


def mixed() -> list[Any]:
    rng = np.random.default_rng(3)
    items: list[Any] = []
    for n in range(60):
        row = (rng.standard_normal(4) + (4 if n > 40 else 0)).tolist()
        items.append(exchange({"prediction": f"c{n % 3}", "probability": n / 60, "embedding": row}))
    items += [exchange(b"{"), exchange({"nothing": 1}), exchange(b"x" * 5000)]
    items.append(exchange({"predictions": [{"label": "a", "score": 0.5}, {"label": "b", "score": 1.5}]}))
    said = exchange({"prediction": "cat"})
    said.notes = {"predicted_class": object(), "confidence": 0.9}
    said.add_embeddings(np.ones((2, 4)))
    items.append(said)
    return items + observations(normal(3))


def shown(runtime: Runtime) -> dict[Any, Any]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): pytest.approx(sample.value)
        for metric in runtime.registry.collect()
        for sample in metric.samples
        if not sample.name.startswith(TIMED)
    }


def test_everything_shows_as_if_a_thread_had_done_it(make: Callable[..., Runtime], detector: Path):
    events: dict[bool, list[DriftEvent]] = {True: [], False: []}
    runtimes = {}
    for isolated in (True, False):
        runtime = runtimes[isolated] = make(
            config(MMDConfig(reference=detector, window=5)),
            isolated=isolated,
            on_event=events[isolated].append,
        )
        send(runtime, mixed())
    assert shown(runtimes[True]) == shown(runtimes[False])
    assert balance(runtimes[True]) == balance(runtimes[False])
    assert balance(runtimes[True])[0] == 70
    assert len(events[True]) == len(events[False]) > 0
    assert [(e.test_stat, e.window) for e in events[True]] == [(e.test_stat, e.window) for e in events[False]]


def test_it_is_another_process_and_ends_with_the_runtime(make: Callable[..., Runtime]):
    runtime = make(config())
    send(runtime, observations(normal(1)))
    pid = helper(runtime).pid
    assert pid not in (None, os.getpid())
    assert Path(f"/proc/{pid}").exists()
    runtime.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert helper(runtime).pid is None


def test_what_a_calibration_comes_to_shows_without_traffic(make: Callable[..., Runtime]):
    runtime = make(config(MMDConfig(reference=LearnConfig(learn=60), window=5, expected_run_length=100)))
    samples = Samples(runtime.registry)
    until(lambda: samples("drift_detector_state", detector="mmd", state="learning"))
    assert samples.state() == "learning"
    send(runtime, observations(normal(60)))
    until(lambda: samples.state() == "filling")
    assert samples("drift_threshold", detector="mmd") > 0


def test_its_log_is_the_services(
    make: Callable[..., Runtime], detector: Path, caplog: pytest.LogCaptureFixture
):
    runtime = make(config(MMDConfig(reference=detector, window=5)))
    with caplog.at_level(logging.WARNING):
        send(runtime, observations(normal(20, shift=5.0)))
    assert [record.name for record in caplog.records if record.message.startswith("drift: model m")] == [
        "exporter.processors.drift"
    ]


def test_its_death_costs_a_batch(make: Callable[..., Runtime], caplog: pytest.LogCaptureFixture):
    runtime = make(config())
    samples = Samples(runtime.registry)
    send(runtime, [Observation("m", "hook", predicted_class="cat")] * 3)
    first = helper(runtime).pid
    os.kill(first, signal.SIGSTOP)  # so that it has the next batch in hand
    cat = Observation("m", "hook", predicted_class="cat")
    assert runtime.submit(cat, "hook")
    until(lambda: not len(runtime.monitor.worker._queue))
    for _ in range(3):  # which wait
        assert runtime.submit(cat, "hook")
    os.kill(first, signal.SIGKILL)
    assert runtime.monitor.worker.drain(WAIT)
    assert balance(runtime) == (7, 6, {"failed": 1}, 0, 0)
    assert helper(runtime).pid not in (None, first)
    send(runtime, [cat] * 2)
    assert balance(runtime) == (9, 8, {"failed": 1}, 0, 0)
    assert samples("predicted_class_total", class_name="cat") == 8
    assert runtime.registry.get_sample_value("inference_exporter_errors_total", {"stage": "detect"}) == 1
    assert "helper process died" in caplog.text


def test_values_of_classes_that_only_the_service_knows_cost_themselves(make: Callable[..., Runtime]):
    class Ours:
        """Of a class that another process cannot find, and pickle cannot name."""

        def __str__(self) -> str:
            raise ZeroDivisionError

    runtime = make(config())
    cat = Observation("m", "hook", predicted_class="cat")
    said = exchange({"prediction": "cat"})
    said.notes = {"embedding": np.array([Ours(), Ours()]), "features": [Ours()]}
    send(runtime, [cat, Observation("m", "hook", request_id=Ours()), said, cat])  # type: ignore[arg-type]
    assert balance(runtime) == (4, 4, {}, 0, 0)
    samples = Samples(runtime.registry)
    assert samples("predicted_class_total", class_name="cat") == 3
    assert samples("inference_exporter_invalid_values_total", field="embedding", reason="wrong_type") == 1
    assert runtime.registry.get_sample_value("inference_exporter_errors_total", {"stage": "detect"}) == 0


def test_classes_stay_within_the_cap_over_the_lives_of_helpers(make: Callable[..., Runtime]):
    runtime = make(config().model_copy(update={"capture": CaptureConfig(max_classes=5)}))
    for life in range(3):
        names = [f"class {life} {n}" for n in range(20)]
        send(runtime, [Observation("m", "hook", predicted_class=name) for name in (*names, "class 0 0")])
        os.kill(helper(runtime).pid, signal.SIGKILL)
        until(lambda: runtime.render() and helper(runtime).pid is None)
    samples = Samples(runtime.registry)
    known = [samples("predicted_class_total", class_name=f"class 0 {n}") for n in range(5)]
    assert known == [4, 1, 1, 1, 1]
    assert samples("predicted_class_total", class_name="other") == 55
    text = runtime.render()[1].decode()
    assert text.count("\npredicted_class_total{") == 6


def test_while_it_hangs_the_queue_fills_and_everything_is_counted(make: Callable[..., Runtime]):
    runtime = make(config(max_items=10, drain_seconds=0.2))
    send(runtime, observations(normal(1)))
    os.kill(helper(runtime).pid, signal.SIGSTOP)
    taken = [runtime.submit(item, "hook") for item in observations(normal(50))]
    assert taken.count(True) <= 20
    observed, processed, dropped, _, queued = balance(runtime)
    assert (observed, processed) == (51, 1)
    assert dropped["queue_full"] + queued == 50
    assert runtime.render()[1]  # a scrape does not wait for it
    runtime.stop()
    observed, processed, dropped, _, queued = balance(runtime)
    assert (observed, processed, queued) == (51, 1, 0)
    assert dropped["stopped"] > 0


def test_an_idle_helper_that_dies_is_noticed_and_replaced(make: Callable[..., Runtime]):
    runtime = make(config())
    send(runtime, observations(normal(1)))
    first = helper(runtime).pid
    os.kill(first, signal.SIGKILL)
    until(lambda: runtime.render() and helper(runtime).pid is None)
    send(runtime, observations(normal(2)))
    assert balance(runtime) == (3, 3, {}, 0, 0)


def test_where_none_can_be_started_a_thread_does_the_work(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    runtime = make(config())
    send(runtime, observations(normal(3)))
    assert helper(runtime).pid is None
    assert balance(runtime) == (3, 3, {}, 0, 0)
    assert "a thread of this process does its work" in caplog.text


def test_what_is_no_text_in_the_search_path_is_none_of_the_helpers(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path, b"bytes", None])
    runtime = make(config())
    send(runtime, observations(normal(3)))
    assert helper(runtime).pid is not None
    assert balance(runtime) == (3, 3, {}, 0, 0)


@pytest.mark.parametrize("error", [TypeError("odd"), ValueError("odd"), MemoryError("odd"), OSError("odd")])
def test_whatever_keeps_one_from_starting_a_thread_does_the_work(
    make: Callable[..., Runtime],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
):
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(subprocess, "Popen", raising)
    runtime = make(config())
    send(runtime, observations(normal(3)))
    assert balance(runtime) == (3, 3, {}, 0, 0)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"no helper process can be started ({type(error).__name__}: odd); "
        "a thread of this process does its work"
    ]


@pytest.mark.parametrize("how", ["frozen", "embedded", "chain"])
def test_a_program_that_is_no_interpreter_is_not_run_again(
    make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch, how: str, tmp_path: Path
):
    mark = tmp_path / "ran"
    program = tmp_path / ("uwsgi" if how == "embedded" else "python3")
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    if how == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    if how == "chain":  # what runs here was itself started in place of an interpreter
        monkeypatch.setenv("INFERENCE_EXPORTER_BEGINNING", "1")
    runtime = make(config())
    send(runtime, observations(normal(2)))
    assert balance(runtime) == (2, 2, {}, 0, 0)
    assert not mark.exists()


def test_descriptors_beyond_a_thousand_are_as_good_as_others(make: Callable[..., Runtime]):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        runtime = make(config())
        send(runtime, observations(normal(1)))
        runtime.render()
        first = helper(runtime).pid
        os.kill(first, signal.SIGKILL)
        until(lambda: runtime.render() and helper(runtime).pid is None)
        send(runtime, observations(normal(2)))
        assert runtime.render()
        assert helper(runtime).pid not in (None, first)
        assert balance(runtime) == (3, 3, {}, 0, 0)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_that_hangs_is_replaced(make: Callable[..., Runtime], caplog: pytest.LogCaptureFixture):
    runtime = make(config())
    send(runtime, observations(normal(1)))
    hanging = helper(runtime)
    first = hanging.pid
    assert hanging._link is not None
    assert hanging._link.connection.gettimeout() == RULES.hung_seconds
    hanging._link.connection.settimeout(0.3)
    os.kill(first, signal.SIGSTOP)
    send(runtime, observations(normal(4)))
    assert not Path(f"/proc/{first}").exists()
    send(runtime, observations(normal(2)))
    assert hanging.pid not in (None, first)
    observed, processed, dropped, _, queued = balance(runtime)
    assert (observed, queued) == (7, 0)
    assert processed == 7 - dropped["failed"] >= 3
    assert "helper process died" in caplog.text


def test_work_that_takes_long_is_no_hanging():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        heartbeat = Heartbeat(Link(theirs), seconds=0.05)
        here = Link(ours)
        with heartbeat.working():
            assert here.pending(WAIT)
            assert isinstance(here.receive(), Beat)
            assert here.pending(WAIT)
        deadline = time.monotonic() + WAIT
        while here.pending(0.5):  # nothing more, once nothing is in hand
            here.receive()
            assert time.monotonic() < deadline


def test_the_service_itself_builds_no_detector(
    make: Callable[..., Runtime], detector: Path, monkeypatch: pytest.MonkeyPatch
):
    def built(*_: Any, **__: Any) -> None:
        raise AssertionError("a detector was built in the service")

    monkeypatch.setattr(exporter.drift.watch.DriftWatch, "__init__", built)
    runtime = make(config(MMDConfig(reference=detector, window=5)))
    samples = Samples(runtime.registry)
    send(runtime, observations(normal(7)))
    assert samples.state() == "ready"
    assert samples("drift_test_stat_count", detector="mmd") == 3
    with pytest.raises(ValueError, match="a helper process"):
        _ = runtime.pipeline


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"drift": ({"reference": "missing.npy", "window": 5},)}, InvalidReference, "missing.npy"),
        ({"capture": {"embedder": {"kind": "onnx", "path": "missing.onnx"}}}, ConfigError, "missing.onnx"),
        ({"capture": {"payload": "fields", "fields": {"value": "a["}}}, ConfigError, "capture.fields.value"),
    ],
)
def test_what_cannot_serve_is_said_before_anything_runs(
    wrong: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        Runtime(Config(model="m", **wrong), isolated=True)


def test_what_only_the_helper_finds_out_is_said_once_and_every_item_is_counted(
    make: Callable[..., Runtime], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not a model")
    runtime = make(
        Config(
            model="m",
            capture={"embedder": {"kind": "onnx", "path": model}},
            queue=QueueConfig(flush_interval_seconds=0.001),
        )
    )
    for item in observations(normal(5)):
        send(runtime, [item])
    assert balance(runtime) == (5, 0, {"failed": 5}, 0, 0)
    assert helper(runtime).pid is None
    (said,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.startswith("nothing is observed, since the configuration cannot serve: capture.embedder.path")


def test_one_that_never_gets_ready_is_given_up(make: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporter.processes.helper, "_PROGRAM", "no.such.module")
    runtime = make(config())
    for item in observations(normal(5)):
        send(runtime, [item])
    observed, processed, dropped, _, queued = balance(runtime)
    assert observed == 5
    assert processed == 5 - dropped.get("failed", 0) >= 2
    assert queued == 0


def test_its_settings_stay(make: Callable[..., Runtime]):
    runtime = make(config())
    with pytest.raises(ValueError, match="start the service anew"):
        runtime.reconfigure(config(max_items=5))
    assert runtime.config == config()


def test_a_checkpoint_is_written_at_the_end(make: Callable[..., Runtime], detector: Path, tmp_path: Path):
    path = tmp_path / "checkpoint.npz"
    runtime = make(config(MMDConfig(reference=detector, window=5, checkpoint=path)))
    send(runtime, observations(normal(7)))
    runtime.stop()
    assert path.exists()


def test_a_service_that_is_killed_leaves_none_behind(tmp_path: Path):
    program = (
        "import time\n"
        "from exporter.config import Config\nfrom exporter.observation import Observation\n"
        "from exporter.runtime import Runtime\n"
        "runtime = Runtime(Config(model='m'), isolated=True)\n"
        "runtime.submit(Observation('m', 'hook'), 'hook')\nassert runtime.monitor.worker.drain(30)\n"
        "print(runtime.helper.pid, flush=True)\ntime.sleep(60)\n"
    )
    service = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert service.stdout is not None
    pid = int(service.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    service.kill()
    service.wait()
    service.stdout.close()

    def gone() -> bool:
        status = Path(f"/proc/{pid}/stat")
        try:
            return status.read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    until(gone)


def of(name: str, answer: Any) -> Exchange:
    made = exchange(answer)
    made.path = f"/v2/models/{name}/infer"
    return made


def test_one_helper_does_the_work_of_all_models(make: Callable[..., Runtime], detector: Path):
    runtimes = {}
    watched = MMDConfig(reference=detector, window=5)
    for isolated in (True, False):
        both = config(watched).model_copy(update={"model": "auto", "max_models": 3})
        runtime = runtimes[isolated] = make(both, isolated=isolated)
        for n in range(40):
            row = normal(1, seed=n, shift=5.0 * (n % 4 == 0)).ravel().tolist()
            assert runtime.submit(of(f"m{n % 4}", {"prediction": f"c{n % 3}", "embedding": row}), "hook")
        for monitor in runtime.models.all:
            assert monitor.worker.drain(WAIT)
            assert monitor.ledger.balance().balanced
    assert shown(runtimes[True]) == shown(runtimes[False])
    counts = {str(each.model): each.ledger.balance().processed for each in runtimes[True].models.all}
    assert counts == {"other": 10, "m0": 10, "m1": 10, "m2": 10}
    assert Samples(runtimes[True].registry, "m0")("drift_active", detector="mmd") == 1
    assert Samples(runtimes[True].registry, "m1")("drift_active", detector="mmd") == 0


def test_its_death_costs_the_batch_in_hand_and_no_other_models(make: Callable[..., Runtime]):
    runtime = make(config().model_copy(update={"model": "auto"}))
    cat = {"prediction": "cat"}
    a, b = (runtime.models.of(of(name, cat)) for name in ("a", "b"))
    for name in ("a", "b"):
        assert runtime.submit(of(name, cat), "hook")
    assert a.worker.drain(WAIT)
    assert b.worker.drain(WAIT)
    first = helper(runtime).pid
    os.kill(first, signal.SIGSTOP)  # so that it has the next batch in hand
    assert runtime.submit(of("a", cat), "hook")
    until(lambda: not len(a.worker))
    assert runtime.submit(of("b", cat), "hook")
    os.kill(first, signal.SIGKILL)
    assert a.worker.drain(WAIT)
    assert b.worker.drain(WAIT)
    balances = [each.ledger.balance() for each in (a, b)]
    assert [(each.processed, each.dropped) for each in balances] == [(1, {"failed": 1}), (2, {})]
    assert helper(runtime).pid not in (None, first)
    assert Samples(runtime.registry, "a")("predicted_class_total", class_name="cat") == 1
    assert Samples(runtime.registry, "b")("predicted_class_total", class_name="cat") == 2


def test_a_forked_process_gets_one_of_its_own(make: Callable[..., Runtime]):
    runtime = make(config())
    send(runtime, observations(normal(1)))
    parents = helper(runtime).pid
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            send(runtime, observations(normal(2)))
            own = helper(runtime).pid
            good = own not in (None, parents) and balance(runtime) == (2, 2, {}, 0, 0)
            runtime.stop()
            os.write(write, b"good" if good else b"bad")
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read() == "good"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    send(runtime, observations(normal(1)))
    assert helper(runtime).pid == parents
    assert balance(runtime) == (2, 2, {}, 0, 0)


def test_what_was_found_comes_back_from_the_helper(make: Callable[..., Runtime]) -> None:
    runtime = make(config())
    assert runtime.status()["models"][0]["exchanges"] == 0
    runtime.submit(exchange({"prediction": "cat", "probability": 0.5}), "hook")
    runtime.submit(exchange({"odd": "secret"}), "hook")

    def told() -> bool:
        return runtime.status()["models"][0]["exchanges"] == 2

    deadline = time.monotonic() + WAIT
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (model,) = runtime.status()["models"]
    assert (model["model"], model["read"]) == ("m", 1)
    assert model["not_read"][0]["response_keys"] == ["odd (text)"]

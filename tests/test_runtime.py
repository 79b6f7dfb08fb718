"""The composition root: started when needed, in every process of its own, and stopped for good."""

from __future__ import annotations

import json
import os
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import exporter.drift.calibrator
from exporter.config import CaptureConfig, Config, LearnConfig, MMDConfig, QueueConfig
from exporter.errors import ConfigError, InvalidReference
from exporter.http.exchange import Exchange
from exporter.observation import Observation
from exporter.processors.drift import Drift
from exporter.receivers.asgi.context import observe
from exporter.runtime import Runtime
from tests.streams import PlainDetector, Samples, normal, observations

WAIT = 20.0


def make(*drift: MMDConfig, **settings: Any) -> Runtime:
    queue = QueueConfig(flush_interval_seconds=0.001)
    return Runtime(Config(model="m", drift=drift, queue=queue), **settings)


def send(runtime: Runtime, items: list[Observation]) -> list[bool]:
    taken = [runtime.submit(item, "hook") for item in items]
    if runtime.monitor.worker.running:
        assert runtime.monitor.worker.drain(WAIT)
    return taken


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads at a fork: that is what is tested
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(write, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return json.loads(text)


def account(runtime: Runtime) -> list[Any]:
    balance = runtime.monitor.ledger.balance()
    assert balance.balanced
    return [balance.observed, balance.processed, balance.dropped, balance.queued]


def test_the_first_submission_starts_it():
    runtime = make()
    assert not runtime.monitor.worker.running
    assert send(runtime, observations(normal(3))) == [True] * 3
    assert runtime.monitor.worker.running
    assert account(runtime) == [3, 3, {}, 0]
    runtime.stop()


def test_after_a_stop_only_a_start_takes_it_up_again():
    runtime = make()
    runtime.start()
    runtime.stop()
    assert send(runtime, observations(normal(2))) == [False, False]
    assert not runtime.monitor.worker.running
    runtime.start()
    assert send(runtime, observations(normal(2))) == [True, True]
    runtime.stop()
    assert account(runtime) == [4, 2, {"stopped": 2}, 0]


def test_stop_without_a_start_refuses_as_well():
    runtime = make()
    runtime.stop()
    assert send(runtime, observations(normal(1))) == [False]
    assert account(runtime) == [1, 0, {"stopped": 1}, 0]


def test_a_submission_never_raises_and_what_cannot_be_packed_is_counted():
    runtime = make()
    assert runtime.submit(object(), "hook") is False  # type: ignore[arg-type]
    registry = runtime.registry
    assert registry.get_sample_value("inference_exporter_errors_total", {"stage": "extract"}) == 1
    assert account(runtime)[0] == 0
    odd = Exchange("POST", "/", b"", ((b"a", object()),), max_body_bytes=9, started=0.0)  # type: ignore[arg-type]
    assert runtime.submit(odd, "hook") is False
    assert account(runtime) == [1, 0, {"failed": 1}, 0]
    runtime.stop()


def test_many_threads_start_it_once():
    runtime = make()
    barrier = threading.Barrier(8)
    before = threading.active_count()

    def submit() -> None:
        barrier.wait()
        runtime.submit(Observation("m", "hook"), "hook")

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert threading.active_count() == before + 1
    assert runtime.monitor.worker.drain(WAIT)
    assert account(runtime) == [8, 8, {}, 0]
    runtime.stop()


def test_two_live_side_by_side():
    one, other = make(), make()
    send(one, observations(normal(2)))
    assert account(one) == [2, 2, {}, 0]
    assert account(other) == [0, 0, {}, 0]
    one.stop()
    other.stop()


def test_models_of_two_exporters_stand_on_one_registry():
    one = make()
    units = CaptureConfig(value_buckets=(1.0, 2.0))
    other = Runtime(Config(model="n", capture=units), registry=one.registry)
    for runtime, n in ((one, 2), (other, 3)):
        for _ in range(n):
            runtime.submit(Observation(runtime.config.model, "hook", value=1.5), "hook")
        assert runtime.monitor.worker.drain(WAIT)
    for model, n in (("m", 2), ("n", 3)):
        value = Samples(one.registry, model)
        assert value("inference_exporter_processed_total") == n
        assert value("inference_exporter_observations_total", source="hook") == n
        assert value("prediction_value_count") == n
    assert Samples(one.registry, "m")("prediction_value_bucket", le="2.0") is None
    assert Samples(one.registry, "n")("prediction_value_bucket", le="2.0") == 3
    one.stop()
    other.stop()


def test_a_model_is_watched_by_one_exporter_of_a_registry_at_a_time():
    one = make()
    with pytest.raises(ConfigError, match="model: 'm' is watched by another exporter on the same registry"):
        make(registry=one.registry)
    one.stop()
    # As a cell of a notebook that is run again.
    again = make(registry=one.registry)
    with pytest.raises(ConfigError, match=r"stop\(\) the other"):
        one.start()
    send(again, observations(normal(2)))
    assert Samples(one.registry)("inference_exporter_processed_total") == 2
    again.stop()
    one.start()
    send(one, observations(normal(3)))
    assert Samples(one.registry)("inference_exporter_processed_total") == 5
    assert Samples(one.registry)("inference_exporter_queued") == 0
    one.stop()


def test_an_exporter_that_cannot_start_leaves_the_registry_as_it_was():
    registry = CollectorRegistry()
    with pytest.raises(InvalidReference):
        make(MMDConfig(reference=Path("nowhere.npy")), registry=registry)
    assert list(registry.collect()) == []
    make(registry=registry).stop()


def test_orphans_are_counted_once_for_all_exporters_on_a_registry():
    runtime = make()
    other = Runtime(Config(model="n"), registry=runtime.registry)
    name = "inference_exporter_orphan_observes_total"
    before = runtime.registry.get_sample_value(name)
    assert before is not None
    observe(predicted_class="nobody's")
    assert runtime.registry.get_sample_value(name) == before + 1
    runtime.stop()
    other.stop()


def test_a_reference_that_cannot_serve_stops_the_start(tmp_path: Any):
    with pytest.raises(InvalidReference):
        make(MMDConfig(reference=tmp_path / "none.npy"))


def test_a_scrape_is_rendered_in_both_formats():
    runtime = make(registry=CollectorRegistry())
    content_type, body = runtime.render()
    assert content_type.startswith("text/plain; version=")
    assert b"# TYPE inference_exporter_processed_total counter" in body
    content_type, body = runtime.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    runtime.stop()


def test_one_made_before_a_fork_works_in_the_child():
    runtime = make(MMDConfig(window=3, reference=LearnConfig(learn=100_000)))

    def child() -> Any:
        taken = send(runtime, observations(normal(5)))
        result = [all(taken), account(runtime)]
        runtime.stop()
        return result

    assert in_child(child) == [True, [5, 5, {}, 0]]
    assert account(runtime) == [0, 0, {}, 0]
    assert not runtime.monitor.worker.running


def test_one_that_runs_at_a_fork_counts_anew_in_the_child():
    runtime = make()
    send(runtime, observations(normal(7)))
    samples = Samples(runtime.registry)

    def child() -> Any:
        fresh = account(runtime)
        send(runtime, observations(normal(5)))
        result = [fresh, account(runtime), samples("inference_exporter_processed_total")]
        runtime.stop()
        return result

    assert in_child(child) == [[0, 0, {}, 0], [5, 5, {}, 0], 5]
    assert send(runtime, observations(normal(1))) == [True]
    assert account(runtime) == [8, 8, {}, 0]
    runtime.stop()


def test_locks_held_at_a_fork_do_not_hold_up_the_child():
    runtime = make()
    runtime.start()
    with runtime._starting, runtime.monitor.ledger.lock, runtime.instruments._lock:

        def child() -> Any:
            send(runtime, observations(normal(2)))
            runtime.render()
            result = account(runtime)
            runtime.stop()
            return result

        assert in_child(child) == [2, 2, {}, 0]
    runtime.stop()


def test_a_child_of_a_stopped_one_starts():
    runtime = make()
    runtime.start()
    runtime.stop()
    assert in_child(lambda: send(runtime, observations(normal(1)))) == [True]


def test_a_calibration_cut_off_by_a_fork_is_made_in_the_child(monkeypatch: pytest.MonkeyPatch):
    entered, release = threading.Event(), threading.Event()
    parent = os.getpid()

    def fit(*_: Any) -> PlainDetector:
        if os.getpid() == parent:
            entered.set()
            assert release.wait(WAIT)
        return PlainDetector()

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    runtime = make(MMDConfig(window=3, reference=LearnConfig(learn=40)))
    send(runtime, observations(normal(40)))
    assert entered.wait(WAIT)

    def child() -> Any:
        runtime.start()
        watch = runtime.pipeline.find(Drift).watches[0]
        assert watch.join_calibration(WAIT)
        result = watch.state
        runtime.stop()
        return result

    assert in_child(child) == "filling"
    release.set()
    assert runtime.pipeline.find(Drift).watches[0].join_calibration(WAIT)
    runtime.stop()


def test_a_thread_that_cannot_be_started_is_started_by_a_later_submission(monkeypatch: pytest.MonkeyPatch):
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runtime = make()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert send(runtime, observations(normal(1))) == [False]
    registry = runtime.registry
    assert registry.get_sample_value("inference_exporter_errors_total", {"stage": "extract"}) == 1
    assert send(runtime, observations(normal(2))) == [True, True]
    assert account(runtime) == [2, 2, {}, 0]
    runtime.stop()

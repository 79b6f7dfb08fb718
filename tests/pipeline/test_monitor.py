"""One model's pipeline: whatever happens, everything is accounted for and the metrics are right."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import exporter.drift.watch
from exporter.config import CaptureConfig, Config, LearnConfig, MMDConfig, QueueConfig, SampleConfig
from exporter.embedders.embedder import Embedder
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent, Observation
from exporter.pipeline.ledger import Tally
from exporter.pipeline.monitor import Monitor
from exporter.pipeline.packing import pack
from exporter.pipeline.processor import Outcomes, Processor
from exporter.processors.assembly import make_pipeline
from exporter.processors.drift import Drift, Notifier
from exporter.processors.predictions import Predictions
from exporter.references.reference import Origin
from tests.streams import D, PlainDetector, Samples, normal, observations

WAIT = 20.0
LEARN = LearnConfig(learn=100_000)


class Bench:
    def __init__(self, config: Config | None = None, on_event: Any = None) -> None:
        registry = CollectorRegistry()
        self.samples = Samples(registry)
        self.events: list[DriftEvent] = []
        self.instruments = Instruments(registry)
        config = config or make_config()
        notify = Notifier(self.instruments, on_event or self.events.append)
        self.pipeline = make_pipeline(config, self.instruments, notify=notify, clock=lambda: 50.0)
        self.monitor = Monitor(config, self.instruments, self.pipeline)

    @property
    def drift(self) -> Drift:
        found = self.pipeline.find(Drift)
        assert found is not None
        return found

    def submit(self, item: Any) -> bool:
        return self.monitor.worker.offer(pack(item, "hook", self.monitor.refuse), "hook")

    def send(self, *items: Any) -> list[bool]:
        taken = [self.submit(item) for item in items]
        if self.monitor.worker.running:
            assert self.monitor.worker.drain(WAIT)
        return taken

    def errors(self, stage: str) -> float | None:
        return self.samples.registry.get_sample_value("inference_exporter_errors_total", {"stage": stage})

    def balance(self) -> tuple[int, int, dict[str, int], int, int]:
        balance = self.monitor.ledger.balance()
        assert balance.balanced
        return balance.observed, balance.processed, balance.dropped, balance.sampled_out, balance.queued


def make_config(drift: tuple[MMDConfig, ...] = (), **queue: Any) -> Config:
    return Config(
        model="m",
        drift=drift,
        queue=QueueConfig(**{"flush_interval_seconds": 0.001, "drain_seconds": 5.0} | queue),
    )


@pytest.fixture
def bench():
    made: list[Bench] = []

    def make(*args: Any, **kwargs: Any) -> Bench:
        made.append(Bench(*args, **kwargs))
        made[-1].monitor.start()
        return made[-1]

    yield make
    for each in made:
        each.monitor.stop()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch):
    """Detectors that the entries of ``drift`` get, in order."""
    detectors: list[PlainDetector] = []
    monkeypatch.setattr(exporter.drift.watch, "load_detector", lambda *_: (detectors.pop(0), Origin()))
    return detectors


def exchange(answer: Any, *, ended: float = 49.0, status: int = 200, max_body_bytes: int = 4096) -> Exchange:
    made = Exchange("POST", "/predict", max_body_bytes=max_body_bytes, started=ended - 0.5)
    made.response_start(status, ((b"content-type", b"application/json"),))
    made.response_chunk(answer if isinstance(answer, bytes) else orjson.dumps(answer))
    made.finish(ended)
    return made


def test_an_exchange_becomes_metrics(bench: Any):
    b = bench()
    b.send(exchange({"prediction": "cat", "probability": 0.85}))
    assert b.samples("predicted_class_total", class_name="cat") == 1
    assert b.samples("prediction_confidence_bucket", le="0.9") == 1
    assert b.samples("prediction_confidence_bucket", le="0.8") == 0
    assert b.samples("inference_exporter_lag_seconds_sum") == 1.0
    assert b.balance() == (1, 1, {}, 0, 0)


def test_classes_beyond_the_bound_are_other(bench: Any):
    b = bench(Config(model="m", capture=CaptureConfig(max_classes=2)))
    b.send(*(Observation("m", "hook", predicted_class=name) for name in ["a", "b", "c", "d", "a", "other"]))
    counts = {name: b.samples("predicted_class_total", class_name=name) for name in ["a", "b", "c", "other"]}
    assert counts == {"a": 2, "b": 1, "c": None, "other": 3}


def test_values_that_are_not_valid_are_counted_and_not_observed(bench: Any):
    b = bench()
    b.send(exchange({"prediction": "cat", "probability": 1.5}))
    assert b.samples("prediction_confidence_count") == 0
    refused = b.samples("inference_exporter_invalid_values_total", field="confidence", reason="out_of_range")
    assert refused == 1


def test_what_cannot_be_read_is_dropped_by_reason(bench: Any):
    b = bench()
    b.send(exchange(b"{"), exchange({"nothing": "here"}), exchange(b"x" * 5000))
    assert b.balance() == (3, 0, {"unreadable": 1, "no_prediction": 1, "body_too_large": 1}, 0, 0)
    assert b.errors("extract") == 0


@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_answer_to_n_instances_counts_as_n(bench: Any, n: int):
    b = bench()
    b.pipeline.extractor.read = lambda _: [{"predicted_class": str(k)} for k in range(n)]
    b.send(exchange({}))
    assert b.balance() == ((n, n, {}, 0, 0) if n else (1, 0, {"no_prediction": 1}, 0, 0))


def test_embeddings_and_notes_join_the_readings(bench: Any, plain: list[PlainDetector]):
    plain.append(detector := PlainDetector((2,)))
    b = bench(make_config((MMDConfig(window=2, reference=LEARN),)))
    made = exchange({"prediction": "cat", "probability": 0.9})
    made.add_embeddings(np.arange(3 * D, dtype=float).reshape(3, D))
    made.notes = {"predicted_class": "dog"}
    b.send(made)
    assert detector.seen == [0.0, 4.0, 8.0]
    assert b.samples("predicted_class_total", class_name="dog") == 1
    assert b.balance() == (3, 3, {}, 0, 0)


def test_notes_speak_where_the_bodies_do_not(bench: Any):
    b = bench()
    made = exchange(b"<html>")
    made.notes = {"predicted_class": "dog"}
    b.send(made)
    assert b.samples("predicted_class_total", class_name="dog") == 1
    assert b.balance() == (1, 1, {}, 0, 0)


@pytest.mark.parametrize("n", [1, 4])
def test_a_reader_that_raises_drops_the_exchange_and_a_metric_that_raises_nothing(bench: Any, n: int):
    b = bench()
    b.pipeline.extractor.read = lambda _: [{"predicted_class": str(k)} for k in range(n)]

    def boom(*_: Any) -> None:
        raise RuntimeError("no")

    b.pipeline.find(Predictions).metrics.count_class = boom
    b.send(exchange({}))
    assert b.balance() == (n, n, {}, 0, 0)
    b.pipeline.extractor.read = boom
    b.send(exchange({}))
    assert b.balance() == (n + 1, n, {"failed": 1}, 0, 0)
    assert b.errors("extract") == 2


@pytest.mark.parametrize(("apart", "items"), [(True, 1), (False, 32)])
def test_within_a_batch_others_get_a_chance(monkeypatch: pytest.MonkeyPatch, apart: bool, items: int):
    seen: list[str] = []
    monkeypatch.setattr("os.sched_yield", lambda: seen.append("core"))
    monkeypatch.setattr("exporter.pipeline.pipeline.time.sleep", lambda _: seen.append("lock"))
    pipeline = make_pipeline(make_config(), Instruments(CollectorRegistry()), apart=apart)
    tally = Tally()
    pipeline.handle(tally, [pack(exchange({"label": "cat"}), "hook", print) for _ in range(64)])
    assert tally.ended["processed"] == 64
    assert set(seen) == {"core" if apart else "lock"}
    # After so many items, and before the detectors run.
    assert len(seen) == 1 + 64 // items


def test_a_detector_that_fails_takes_nothing_with_it(bench: Any, plain: list[PlainDetector]):
    def boom() -> None:
        raise RuntimeError("broken")

    plain += [PlainDetector((2,), before_update=boom), healthy := PlainDetector((2,))]
    b = bench(
        make_config(
            (
                MMDConfig(name="a", window=2, reference=LEARN),
                MMDConfig(name="b", window=2, reference=LEARN),
            )
        )
    )
    b.send(*observations(normal(10)))
    assert len(healthy.seen) == 10
    assert (b.samples.state("a"), b.samples.state("b")) == ("failed", "ready")
    assert b.balance() == (10, 10, {}, 0, 0)


def test_sampled_out_is_what_no_detector_tested(bench: Any, plain: list[PlainDetector]):
    plain += [slow := PlainDetector((2,)), slower := PlainDetector((2,))]
    b = bench(
        make_config(
            (
                MMDConfig(name="a", window=2, reference=LEARN, sample=SampleConfig(max_per_second=0.5)),
                MMDConfig(name="b", window=2, reference=LEARN, sample=SampleConfig(max_per_second=0.2)),
            )
        )
    )
    b.send(*observations(normal(20)), Observation("m", "hook", 20.0, predicted_class="no embedding"))
    tested = {0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19} | {0, 3, 8, 13, 18}
    assert (len(slow.seen), len(slower.seen)) == (11, 5)
    assert b.balance() == (21, 1 + len(tested), {}, 20 - len(tested), 0)


class Keeper(Processor):
    """Keeps the sizes of the batches that reach it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def process(self, observations: Any, outcomes: Any) -> None:
        self.sizes.append(len(observations))


def test_a_batch_of_many_instances_reaches_the_processors_in_bounded_parts(bench: Any):
    b = bench(make_config(max_batch=256, flush_interval_seconds=0.2))
    b.pipeline.processors.append(keeper := Keeper())
    rows = [{"label": "cat", "score": 0.5}] * 700
    sent = [{"predictions": rows}] * 9 + [{"predictions": rows * 14}]
    b.send(*[exchange(each, max_body_bytes=1 << 20) for each in sent])
    assert b.balance() == (23 * 700, 23 * 700, {}, 0, 0)
    assert sum(keeper.sizes) == 23 * 700
    assert max(keeper.sizes) < 4096


def test_many_instances_take_bounded_memory(bench: Any):
    """What is at hand at once is a few thousand observations, not all that a batch holds."""
    b = Bench()
    row = [0.5] * 64
    answer = {"predictions": [{"label": "cat", "embedding": row}] * 10}
    packed = pack(exchange(answer, max_body_bytes=1 << 20), "hook", print)
    tally = Tally()
    tracemalloc.start()
    try:
        b.pipeline.handle(tally, [packed] * 2_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tally.ended["processed"] == 20_000
    assert peak < 6_000_000  # 2,048 observations of 64 numbers are some 2 MB


def test_a_processor_that_raises_is_counted_and_takes_nothing_with_it(bench: Any):
    class Broken(Processor):
        def process(self, observations: Any, outcomes: Any) -> None:
            raise RuntimeError("no")

    b = bench()
    b.pipeline.processors.insert(0, Broken())
    b.pipeline.processors.append(keeper := Keeper())
    b.send(exchange({"prediction": "cat"}))
    assert (b.balance(), keeper.sizes) == ((1, 1, {}, 0, 0), [1])
    assert b.samples("predicted_class_total", class_name="cat") == 1
    assert b.errors("extract") == 1


def test_a_batch_that_is_not_handled_to_its_end_is_counted_as_failed(bench: Any):
    b = bench()
    handle = b.pipeline.handle

    def half(tally: Tally, items: Any) -> None:
        handle(tally, list(items)[:1])
        raise RuntimeError("no")

    b.pipeline.handle = half
    b.send(*observations(normal(1)))
    b.pipeline.handle = lambda tally, items: half(tally, [*items, *items])
    assert b.balance() == (1, 1, {}, 0, 0)
    b.monitor.stop()
    b.monitor = Monitor(make_config(flush_interval_seconds=0.2), Instruments(CollectorRegistry()), b.pipeline)
    b.pipeline.handle = half
    b.monitor.start()
    b.send(*observations(normal(5)))
    assert b.balance() == (5, 1, {"failed": 4}, 0, 0)


def test_an_observation_comes_to_one_end_whatever_processors_say(bench: Any):
    class Says(Processor):
        def __init__(self, reason: str | None) -> None:
            self.reason = reason

        def process(self, observations: Any, outcomes: Any) -> None:
            for position in range(len(observations)):
                outcomes.sampled_out(position)
                if self.reason and position % 2:
                    outcomes.dropped(position, self.reason)

    b = bench(make_config(flush_interval_seconds=0.2))
    b.pipeline.processors += [Says(None), Says("failed"), Says("queue_full")]
    b.send(*observations(normal(10)))
    observed, processed, dropped, sampled_out, _ = b.balance()
    assert (observed, processed, dropped.get("failed"), sampled_out) == (10, 0, 5, 5)


def test_an_outcome_is_one_for_each_observation():
    outcomes = Outcomes()
    for position in (0, 1, 1):
        outcomes.sampled_out(position)
    for position, reason in ((1, "failed"), (1, "queue_full"), (2, "queue_full")):
        outcomes.dropped(position, reason)
    assert outcomes.count(4) == {"failed": 1, "queue_full": 1, "sampled_out": 1, "processed": 1}


class FakeEmbedder:
    """In place of a model of our own: a row for each exchange."""

    def __init__(self) -> None:
        self.asked = 0

    def has_embedding(self, exchange: Any) -> bool:
        return Embedder.has_embedding(self, exchange)  # type: ignore[arg-type]

    def attach(self, exchanges: Any) -> int:
        self.asked += len(exchanges)
        for each in exchanges:
            each.add_embeddings(np.ones((1, D), dtype=np.float32))
        return 0


@pytest.mark.parametrize("own", ["no", "said", "live", "answer"])
def test_with_an_embedder_and_a_rate_each_is_tested_or_sampled_out_once(
    bench: Any, plain: list[PlainDetector], own: str
):
    plain.append(detector := PlainDetector((2,)))
    sample = SampleConfig(max_per_second=0.5)
    b = bench(make_config((MMDConfig(window=2, reference=LEARN, sample=sample),)))
    b.pipeline.extractor._embedder = embedder = FakeEmbedder()
    for second in range(100):
        answer = {"prediction": "cat"} | ({"embedding": [1.0] * D} if own == "answer" else {})
        made = exchange(answer, ended=float(second))
        if own == "said":
            made.notes = {"embedding": np.ones(D)}
        elif own == "live":
            made.add_embeddings(np.ones((1, D)))
        b.send(made)
    tested = len(detector.seen)
    assert 50 <= tested <= 52
    assert b.balance() == (100, tested, {}, 100 - tested, 0)
    b.instruments.refresh()
    assert b.samples("inference_exporter_sampled_out_total") == 100 - tested
    assert embedder.asked == {"no": tested, "said": 0, "live": 0, "answer": 0}[own]


def test_what_was_tested_was_not_sampled_out_also_if_it_was_not_worth_embedding(
    bench: Any, plain: list[PlainDetector]
):
    plain.append(detector := PlainDetector((2,)))
    sample = SampleConfig(max_per_second=0.5)
    b = bench(make_config((MMDConfig(window=2, reference=LEARN, sample=sample),)))
    b.pipeline.extractor._embedder = FakeEmbedder()
    said = exchange({"prediction": "said, and tested"}, ended=0.0)
    said.notes = {"embedding": np.full(D, 1.0)}
    b.send(
        said,
        exchange({"prediction": "embedded, and too soon for a test"}, ended=0.5),
        exchange({"prediction": "too soon to be embedded", "embedding": [2.0] * D}, ended=1.2),
    )
    assert detector.seen == [1.0, 2.0]
    assert b.balance() == (3, 2, {}, 1, 0)


def test_an_embedder_without_detectors_has_nothing_to_do_and_nothing_is_sampled_out(bench: Any):
    b = bench()
    b.pipeline.extractor._embedder = embedder = FakeEmbedder()
    b.send(exchange({"prediction": "cat"}))
    assert (embedder.asked, b.balance()) == (0, (1, 1, {}, 0, 0))


def test_rows_that_found_no_place_are_observed_and_dropped(bench: Any):
    b = bench()
    made = exchange({"prediction": "cat"})
    made.finished = False
    for _ in range(1000):
        made.add_embeddings(np.ones((1, 64), dtype=np.float32))
    b.send(made)
    assert b.balance() == (1000, 3, {"body_too_large": 997}, 0, 0)


def test_without_detectors_nothing_is_sampled_out(bench: Any):
    b = bench()
    b.send(*observations(normal(3)))
    assert b.balance() == (3, 3, {}, 0, 0)


def test_an_event_handler_that_raises_is_counted(bench: Any, plain: list[PlainDetector]):
    def boom(_: DriftEvent) -> None:
        raise RuntimeError("pager is down")

    plain.append(PlainDetector((2,)))
    b = bench(make_config((MMDConfig(window=2, reference=LEARN),)), on_event=boom)
    b.send(*observations(np.full((3, D), 9.0)))
    assert b.errors("notify") == 1
    assert b.samples("drift_episodes_total", detector="mmd") == 1
    assert b.balance() == (3, 3, {}, 0, 0)


def test_what_finds_no_place_is_dropped(bench: Any):
    b = Bench(make_config(max_items=2))
    assert b.send(*observations(normal(3))) == [True, True, False]
    assert b.balance() == (3, 0, {"queue_full": 1}, 0, 2)
    b.monitor.start()
    assert b.monitor.worker.drain(WAIT)
    assert b.balance() == (3, 2, {"queue_full": 1}, 0, 0)
    b.monitor.stop()


def test_stop_handles_what_waits_and_refuses_what_comes_later():
    b = Bench(make_config(flush_interval_seconds=3600.0))
    b.monitor.start()
    for item in observations(normal(5)):
        assert b.submit(item)
    b.monitor.stop()
    assert b.balance() == (5, 5, {}, 0, 0)
    assert b.send(*observations(normal(2))) == [False, False]
    assert b.balance() == (7, 5, {"stopped": 2}, 0, 0)
    b.monitor.start()
    assert all(b.submit(item) for item in observations(normal(2)))
    b.monitor.stop()
    assert b.balance() == (9, 7, {"stopped": 2}, 0, 0)
    b.monitor.stop()
    assert b.balance() == (9, 7, {"stopped": 2}, 0, 0)


def test_a_thread_that_hangs_over_a_stop_and_a_restart_corrupts_nothing(plain: list[PlainDetector]):
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        assert release.wait(WAIT)

    plain.append(detector := PlainDetector((2,), before_update=hang))
    b = Bench(make_config((MMDConfig(window=2, reference=LEARN),), drain_seconds=0.05, max_batch=2))
    b.monitor.start()
    hung = b.monitor.worker.thread
    assert hung is not None
    for item in observations(normal(5)):
        b.submit(item)
    assert entered.wait(WAIT)
    b.monitor.stop()
    assert b.balance() == (5, 0, {"stopped": 5}, 0, 0)
    b.monitor.start()
    detector.before_update = None
    b.send(*observations(normal(3)))
    assert b.balance() == (8, 3, {"stopped": 5}, 0, 0)
    release.set()
    hung.join(WAIT)
    assert not hung.is_alive()
    assert b.balance() == (8, 3, {"stopped": 5}, 0, 0)
    b.send(*observations(normal(4)))
    assert b.balance() == (12, 7, {"stopped": 5}, 0, 0)
    assert b.samples.state() == "ready"
    b.monitor.stop()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 30), st.booleans())
def test_the_ledger_is_exact_over_submitters_stops_and_scrapes(
    threads: int, each: int, bound: int, restart: bool
):
    b = Bench(make_config(max_items=bound, max_batch=3, flush_interval_seconds=0.0001))

    def read(made: Exchange) -> list[dict[str, Any]]:
        if made.status:
            raise PayloadError("unreadable", "no")
        return [{"predicted_class": "x"}, {"predicted_class": "y"}]

    b.pipeline.extractor.read = read
    b.monitor.start()

    def submit(seed: int) -> None:
        for n in range(each):
            b.submit(exchange({}, status=200 if (seed + n) % 3 else 0))

    submitting = [threading.Thread(target=submit, args=(n,)) for n in range(threads)]
    for thread in submitting:
        thread.start()
    if restart:
        b.monitor.stop()
        b.monitor.start()
    b.instruments.refresh()
    b.balance()
    for thread in submitting:
        thread.join(WAIT)
    b.monitor.stop()
    observed, processed, dropped, _, queued = b.balance()
    assert queued == 0
    assert observed == processed + sum(dropped.values())
    assert observed - processed // 2 == threads * each


def test_reconfiguring_keeps_what_did_not_change(plain: list[PlainDetector]):
    first = MMDConfig(name="first", window=2, reference=LEARN)
    second = MMDConfig(name="second", window=2, reference=LEARN)
    plain += [PlainDetector((2,)), PlainDetector((2,)), PlainDetector((3,))]
    b = Bench(make_config((first, second)))
    b.monitor.start()
    b.send(*observations(np.full((3, D), 9.0)))
    assert b.samples("drift_active", detector="second") == 1
    kept = b.drift.watches[0]
    third = MMDConfig(name="third", window=3, reference=LEARN)
    b.pipeline.reconfigure(make_config((first, third)))
    assert b.drift.watches[0] is kept
    assert b.samples("drift_active", detector="second") is None
    assert b.samples("drift_active", detector="first") == 1
    assert b.samples.state("third") == "filling"
    b.monitor.stop()


def test_a_changed_entry_does_not_inherit_an_alarm(plain: list[PlainDetector]):
    plain += [PlainDetector((2,)), PlainDetector((3,))]
    b = Bench(make_config((MMDConfig(window=2, reference=LEARN),)))
    b.monitor.start()
    b.send(*observations(np.full((3, D), 9.0)))
    assert b.samples("drift_active", detector="mmd") == 1
    b.pipeline.reconfigure(make_config((MMDConfig(window=3, reference=LEARN),)))
    assert b.samples("drift_active", detector="mmd") == 0
    assert b.samples("drift_events_total", detector="mmd") == 2
    b.monitor.stop()

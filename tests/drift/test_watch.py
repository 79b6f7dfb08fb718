"""A detector in a running service: its states, what it refuses, its events, its failures."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import exporter.drift.calibrator
import exporter.drift.watch
from exporter.config import LearnConfig, MMDConfig, SampleConfig
from exporter.detectors import OnlineMMD
from exporter.drift.watch import DriftWatch
from exporter.errors import ConfigError, InvalidEmbedding, InvalidReference
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.observation import DriftEvent, Observation
from exporter.pipeline.packing import pack, unpack
from exporter.references.reference import Origin, Reference
from tests.streams import D, PlainDetector, Samples, normal, observations

torch = pytest.importorskip("torch")
WAIT = 30.0


class Bench:
    """A watch with its metrics, its events and what it refused."""

    def __init__(self, config: MMDConfig | None = None) -> None:
        registry = CollectorRegistry()
        self.samples = Samples(registry)
        self.events: list[DriftEvent] = []
        self.refused: list[tuple[str, str]] = []
        self.now = 1000.0
        self.watch = DriftWatch(
            ModelId("m"),
            config or MMDConfig(),
            Instruments(registry),
            refuse=lambda field, reason: self.refused.append((field, reason)),
            on_event=self.events.append,
            clock=lambda: self.now,
        )

    def send(self, rows: list[Any]) -> None:
        """Embeddings of any type, as a service hands them over: what is no row of numbers does not arrive."""
        arrived = []
        for sent in observations(rows):
            data = pack(sent, "hook", lambda field, reason: self.refused.append((field, reason)))
            arrived.append(cast("Observation", unpack(data)[1]))
        self.watch.take([observation for observation in arrived if observation.embedding is not None])

    def errors(self) -> float | None:
        return self.samples.registry.get_sample_value("inference_exporter_errors_total", {"stage": "detect"})


@pytest.fixture
def with_detector(monkeypatch: pytest.MonkeyPatch):
    def make(detector: Any, **settings: Any) -> Bench:
        monkeypatch.setattr(exporter.drift.watch, "load_detector", lambda *_: (detector, Origin()))
        bench = Bench(MMDConfig(window=detector.windows, reference=LearnConfig(learn=100_000), **settings))
        bench.watch.start()
        return bench

    return make


def first_coordinates(values: list[float]) -> list[np.ndarray]:
    return [np.array([value, 0.0, 0.0, 0.0]) for value in values]


def test_states_go_from_learning_to_ready():
    bench = Bench(MMDConfig(window=10, reference=LearnConfig(learn=60), seed=1, expected_run_length=50))
    bench.watch.start()
    seen = [bench.samples.state()]
    bench.watch.take(observations(normal(59)))
    seen.append(bench.samples.state())
    bench.watch.take(observations(normal(3, seed=1)))
    seen.append(bench.watch.state)
    assert bench.watch.join_calibration(WAIT)
    seen.append(bench.samples.state())
    bench.watch.take(observations(normal(9, seed=2)))
    seen.append(bench.samples.state())
    assert bench.samples("drift_test_stat_count", detector="mmd") == 0
    bench.watch.take(observations(normal(1, seed=3)))
    seen.append(bench.samples.state())
    assert [seen[0], seen[1], *seen[3:]] == ["learning", "learning", "filling", "filling", "ready"]
    assert seen[2] in ("calibrating", "filling")
    assert bench.samples("drift_test_stat_count", detector="mmd") == 1
    detector = bench.watch.detector
    assert detector is not None
    assert bench.samples("drift_threshold", detector="mmd") == detector.thresholds[0]
    assert bench.samples("drift_expected_run_length", detector="mmd") == 50


def test_a_calibration_holds_nobody_up(monkeypatch: pytest.MonkeyPatch):
    entered, release = threading.Event(), threading.Event()

    def fit(*_: Any) -> PlainDetector:
        entered.set()
        assert release.wait(WAIT)
        return PlainDetector()

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    bench = Bench(MMDConfig(window=3, reference=LearnConfig(learn=40)))
    bench.watch.start()
    bench.watch.take(observations(normal(40)))
    assert entered.wait(WAIT)
    assert bench.samples.state() == "calibrating"
    bench.watch.take(observations(normal(50)))
    assert not bench.watch.join_calibration(0.0)
    release.set()
    assert bench.watch.join_calibration(WAIT)
    assert bench.samples.state() == "filling"


def test_a_calibration_given_up_leaves_no_detector_and_starts_anew(monkeypatch: pytest.MonkeyPatch):
    entered, release = threading.Event(), threading.Event()
    fits: list[Any] = []

    def fit(_: Any, reference: Any, progress: Any) -> PlainDetector:
        fits.append(reference)
        entered.set()
        assert release.wait(WAIT)
        if len(fits) == 1:
            progress(0.5)
        return PlainDetector()

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    bench = Bench(MMDConfig(window=3, reference=LearnConfig(learn=40)))
    bench.watch.start()
    bench.watch.take(observations(normal(40)))
    assert entered.wait(WAIT)
    bench.watch.close()
    release.set()
    assert bench.watch.join_calibration(WAIT)
    assert bench.watch.detector is None
    assert bench.watch.state == "calibrating"
    assert bench.errors() == 0
    bench.watch.start()
    assert bench.watch.join_calibration(WAIT)
    assert bench.watch.state == "filling"
    np.testing.assert_array_equal(fits[0].rows, fits[1].rows)


def test_no_thread_runs_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", lambda *_: PlainDetector())
    np.save(tmp_path / "r.npy", normal(200))
    before = threading.active_count()
    bench = Bench(MMDConfig(window=3, reference=tmp_path / "r.npy"))
    assert threading.active_count() == before
    assert bench.samples.state() == "calibrating"
    bench.watch.start()
    assert bench.watch.join_calibration(WAIT)
    assert bench.samples.state() == "filling"


def test_a_calibration_that_raises_ends_in_failed(monkeypatch: pytest.MonkeyPatch):
    def fit(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    bench = Bench(MMDConfig(window=3, reference=LearnConfig(learn=40)))
    bench.watch.start()
    bench.watch.take(observations(normal(40)))
    assert bench.watch.join_calibration(WAIT)
    assert bench.samples.state() == "failed"
    assert bench.errors() == 1


def test_a_constant_stream_is_not_learnt_from_and_said_once_an_hour(caplog: pytest.LogCaptureFixture):
    bench = Bench(MMDConfig(window=10, reference=LearnConfig(learn=60), seed=1, expected_run_length=50))
    bench.watch.start()
    bench.watch.take(observations(np.ones((150, D))))
    assert bench.samples.state() == "learning"
    assert bench.samples("drift_learning_ratio", detector="mmd") == 0.5
    assert bench.errors() == 2
    assert caplog.text.count("constant") == 1
    bench.watch.take(observations(normal(60)))  # what is constant of it goes in too
    assert bench.watch.join_calibration(WAIT)
    assert bench.watch.state == "filling"


def test_rows_that_cannot_be_learnt_are_refused_and_counted(monkeypatch: pytest.MonkeyPatch):
    learnt: list[np.ndarray] = []

    def fit(_: Any, reference: Reference, __: Any) -> PlainDetector:
        learnt.append(reference.rows)
        return PlainDetector()

    monkeypatch.setattr(exporter.drift.calibrator, "fit_detector", fit)
    bench = Bench(MMDConfig(window=3, reference=LearnConfig(learn=40)))
    bench.watch.start()
    good = normal(40).astype(np.float32)
    rows: list[Any] = [*good[:20], np.full(D, np.nan), np.array([0.0, np.inf, 0.0, 0.0]), np.zeros(D + 1)]
    rows += [np.array(["a"] * D), np.zeros(D, dtype=complex), torch.tensor(good[20]), *good[21:]]
    bench.send(rows)
    assert bench.watch.join_calibration(WAIT)
    assert sorted(bench.refused) == [
        ("embedding", "not_finite"),
        ("embedding", "not_finite"),
        ("embedding", "wrong_shape"),
        ("embedding", "wrong_type"),
        ("embedding", "wrong_type"),
    ]
    np.testing.assert_array_equal(learnt[0], good)


def test_the_short_window_speaks_before_the_long_one_is_full(with_detector: Any):
    bench = with_detector(PlainDetector((2, 5)))
    bench.watch.take(observations(first_coordinates([9.0, 9.0, 9.0])))
    assert bench.samples("drift_test_stat_count", detector="mmd_w2") == 2
    assert bench.samples("drift_test_stat_count", detector="mmd_w5") == 0
    assert bench.samples("drift_active", detector="mmd_w2") == 1
    assert [event.detector for event in bench.events] == ["mmd_w2"]
    assert bench.events[0].window == 2
    assert (bench.samples.state("mmd_w2"), bench.samples.state("mmd_w5")) == ("ready", "filling")
    assert bench.watch.state == "filling"
    bench.watch.take(observations(first_coordinates([9.0, 9.0]), start=3))
    assert [event.detector for event in bench.events] == ["mmd_w2", "mmd_w5"]
    assert bench.samples.state("mmd_w5") == "ready"
    assert bench.watch.state == "ready"


def test_events_and_episodes_are_counted(with_detector: Any):
    bench = with_detector(PlainDetector((2,)))
    bench.watch.take(observations(first_coordinates([0, 0, 5, 5, 0, 0, 0, 0, 0, 5, 5])))
    assert bench.samples("drift_events_total", detector="mmd") == 5
    assert bench.samples("drift_episodes_total", detector="mmd") == 2
    assert [event.request_id for event in bench.events] == ["2", "9"]
    assert [event.test_stat for event in bench.events] == [2.5, 2.5]
    assert bench.samples("drift_test_stat_last", detector="mmd") == 5.0
    assert bench.samples("drift_score_ratio", detector="mmd") == 5.0
    assert bench.samples("drift_last_test_timestamp_seconds", detector="mmd") == 1000.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.5, 3.0, float("nan")]), min_size=1, max_size=60),
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
    st.sampled_from([(2,), (5,), (2, 7)]),
)
def test_evidence_and_identities_belong_together(
    values: list[float], cuts: list[int], windows: tuple[int, ...]
):
    """The evidence is that of the window at the end of the batch, also when the batch is longer than it."""
    detector = PlainDetector(windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter.drift.watch, "load_detector", lambda *_: (detector, Origin()))
        bench = Bench(MMDConfig(window=windows))
    value_of = {str(n): value for n, value in enumerate(values)}
    stream = observations(first_coordinates(values))
    ends: list[int] = []
    while stream:
        size = cuts[len(ends) % len(cuts)]
        batch, stream = stream[:size], stream[size:]
        bench.watch.take(batch)
        finite = [n for n in range(len(values) - len(stream)) if not np.isnan(values[n])]
        for event in bench.events:
            window = [str(n) for n in finite[-event.window :]]
            members = {member.request_id: member for member in (*event.least_typical, *event.most_typical)}
            assert set(members) <= set(window)
            assert len(members) >= min(len(window), 5)
            assert all(-member.witness == value_of[name] for name, member in members.items() if name)
            assert [m.witness for m in event.least_typical] == sorted(m.witness for m in event.least_typical)
            assert event.moved_dimensions[0][1] == pytest.approx(np.mean([value_of[name] for name in window]))
        bench.events.clear()
        ends.append(len(values) - len(stream))


def test_evidence_after_a_restart_names_only_whom_it_knows(with_detector: Any):
    detector = PlainDetector((5,))
    detector.seen = [0.0, 0.0, 0.0, 0.0, 0.0]  # as a checkpoint leaves it
    bench = with_detector(detector)
    bench.watch.take(observations(first_coordinates([4.0, 5.0])))
    (event,) = bench.events
    assert [(m.request_id, m.witness) for m in event.least_typical] == [("1", -5.0), ("0", -4.0)]


def test_embeddings_that_do_not_fit_are_refused_one_by_one(with_detector: Any):
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    rows: list[Any] = [
        np.zeros(D),
        np.zeros(D + 1),
        np.zeros((2, D)),
        np.array(["a"] * D),
        np.zeros(D, dtype=complex),
        torch.zeros(D, dtype=torch.complex64),
        np.array([None] * D),
        np.array([np.nan, 0, 0, 0]),
        np.ones(D),
    ]
    bench.send(rows)
    assert bench.watch.state == "ready"
    assert detector.seen == [0.0, 1.0]
    assert sorted(reason for _, reason in bench.refused) == [
        *("not_finite", "wrong_shape", "wrong_shape", "wrong_type", "wrong_type", "wrong_type", "wrong_type")
    ]
    assert bench.errors() == 0


def test_embeddings_of_mixed_kinds_are_tested_together(with_detector: Any):
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    rows: list[Any] = [
        np.full(D, 1, dtype=np.int64),
        torch.full((D,), 2.0, requires_grad=True),
        torch.full((D,), 3.0, dtype=torch.bfloat16),
        torch.full((D,), 4.0, dtype=torch.float16),
        torch.full((D,), 5, dtype=torch.int16),
        np.full(D, 6, dtype=np.float16),
        np.full(D, True),
        np.ma.masked_array([7.0] * D),
        [8.0] * D,
    ]
    bench.send(rows)
    assert detector.seen == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 7.0, 8.0]
    assert bench.refused == []


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (np.zeros(2), "wrong_shape"),
        (np.zeros(0), "wrong_shape"),
        (np.zeros((3, 1)), "wrong_shape"),
        (np.float64(0.0), "wrong_shape"),
        (np.array(0.0), "wrong_shape"),
        (np.zeros(D, dtype=complex), "wrong_type"),
        (torch.zeros(D, dtype=torch.complex64), "wrong_type"),
        (np.array(["1"] * D), "wrong_type"),
        (np.array([None] * D), "wrong_type"),
        (np.zeros(D, dtype="M8[s]"), "wrong_type"),
        ("abc", "wrong_type"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_one_odd_embedding_leaves_the_others_be(with_detector: Any, odd: Any, reason: str, before: int):
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    rows: list[Any] = first_coordinates([1.0, 2.0])
    bench.send([*rows[:before], odd, *rows[before:]])
    assert detector.seen == [1.0, 2.0]
    assert bench.refused == [("embedding", reason)]
    assert bench.watch.state == "ready"


@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8"), ("i8", "f4"), ("f2", "i2")])
def test_rows_become_one_array(with_detector: Any, monkeypatch: pytest.MonkeyPatch, dtypes: tuple[str, str]):
    """What the decoders found is tested as it is, in whatever precision it came."""
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    batches: list[np.ndarray] = []
    update = detector.update
    monkeypatch.setattr(detector, "update", lambda rows: (batches.append(rows), update(rows))[1])
    rows = [np.arange(D, dtype=dtype) + k for k, dtype in enumerate(dtypes)]
    bench.watch.take(observations(rows))
    assert batches[0].dtype == np.stack(rows).dtype
    np.testing.assert_array_equal(batches[0], np.stack(rows))


@pytest.mark.parametrize("lengths", [(1, 3), (3, 2, 1), (2, 3), (0, 2), (0, 0)])
def test_rows_of_different_lengths_are_not_run_together(with_detector: Any, lengths: tuple[int, ...]):
    """A detector that learns its length from the first batch learns that of its first row."""
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    detector.n_features = 0
    shapes: list[tuple[int, int]] = []

    def update(batch: np.ndarray) -> None:
        shapes.append(batch.shape)
        raise InvalidEmbedding("not now")

    detector.update = update
    bench.watch.take(observations([np.zeros(length) for length in lengths]))
    assert shapes == ([(1, lengths[0])] if lengths[0] else [])
    assert bench.refused == [("embedding", "wrong_shape")] * len(lengths)
    assert bench.watch.state == "filling"


def test_a_detector_that_refuses_a_batch_goes_on(with_detector: Any):
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    detector.n_features = 0  # as one that learns its length from the first batch
    bench.watch.take(observations([np.zeros(3)]))
    assert bench.refused == [("embedding", "wrong_shape")]
    assert bench.watch.state == "filling"


def test_a_detector_that_raises_fails_for_good(with_detector: Any, caplog: pytest.LogCaptureFixture):
    def boom() -> None:
        raise RuntimeError("broken")

    detector = PlainDetector((2,), before_update=boom)
    bench = with_detector(detector)
    bench.watch.take(observations(normal(3)))
    assert bench.samples.state() == "failed"
    assert bench.errors() == 1
    assert "broken" in caplog.text
    detector.before_update = None
    bench.watch.take(observations(normal(3)))
    assert detector.seen == []


def test_one_writer_even_where_a_thread_hangs(with_detector: Any):
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        assert release.wait(WAIT)

    detector = PlainDetector((2,), before_update=hang)
    bench = with_detector(detector)
    hung = threading.Thread(target=bench.watch.take, args=(observations(normal(1)),))
    hung.start()
    assert entered.wait(WAIT)
    bench.watch.take(observations(normal(2)))  # PlainDetector asserts that it has one writer
    bench.watch.close()
    assert bench.errors() == 1
    detector.before_update = None
    release.set()
    hung.join(WAIT)
    bench.watch.take(observations(normal(2)))
    assert len(detector.seen) == 3
    assert bench.watch.state == "ready"


def test_a_child_process_does_not_trust_a_detector_in_pieces(with_detector: Any):
    detector = PlainDetector((2,))
    bench = with_detector(detector)
    bench.watch.take(observations(normal(3)))
    bench.watch.after_fork()
    assert detector.resets == 0
    bench.watch._lock.acquire()  # as a thread of the parent may have done
    bench.watch.after_fork()
    assert detector.resets == 1
    assert bench.watch.state == "filling"
    bench.watch.take(observations(normal(3)))
    assert bench.watch.state == "ready"


def test_what_the_sampling_rate_lets_through(with_detector: Any):
    bench = with_detector(PlainDetector(), sample=SampleConfig(max_per_second=2))
    assert [bench.watch.admits(time) for time in (10.0, 10.1, 10.2, 10.5, 10.6)] == [
        *(True, False, False, True, False)
    ]


def test_metrics_of_a_watch_that_is_gone_leave_the_scrape(with_detector: Any):
    bench = with_detector(PlainDetector((2, 3)))
    assert bench.watch.labels == {"mmd_w2", "mmd_w3"}
    bench.watch.forget({"mmd_w2"})
    names = [
        "drift_active",
        "drift_threshold",
        "drift_test_stat_count",
        "inference_exporter_detect_seconds_count",
    ]
    assert [bench.samples(name, detector="mmd_w2") for name in names] == [None] * 4
    assert [bench.samples(name, detector="mmd_w3") for name in names] == [0, 1.0, 0, 0]
    assert bench.samples("drift_detector_state", detector="mmd_w2", state="filling") is None


def test_a_reference_that_cannot_serve_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(InvalidReference, match="does not exist"):
        Bench(MMDConfig(reference=tmp_path / "none.npy"))
    np.save(tmp_path / "short.npy", normal(20))
    with pytest.raises(InvalidReference, match="20 rows"):
        Bench(MMDConfig(reference=tmp_path / "short.npy"))
    OnlineMMD.fit(normal(100), window=5, expected_run_length=50, seed=1).save(tmp_path / "fitted.npz")
    with pytest.raises(ConfigError, match=r"drift\.window: \[7\] differs from \[5\]"):
        Bench(MMDConfig(reference=tmp_path / "fitted.npz", window=7))
    assert Bench(MMDConfig(reference=tmp_path / "fitted.npz")).watch.state == "filling"


def fitted(path: Path, run_length: float = 50.0) -> Path:
    OnlineMMD.fit(normal(100), window=5, expected_run_length=run_length, bandwidth=2.0, seed=1).save(path)
    return path


@pytest.mark.parametrize(
    ("asked", "run_length", "bandwidth"),
    [
        ({"expected_run_length": 400.0}, 400.0, 2.0),
        ({"false_alarm_interval": 200.0, "sample": SampleConfig(max_per_second=2.0)}, 400.0, 2.0),
        ({"bandwidth": 3.0}, 50.0, 3.0),
    ],
    ids=str,
)
def test_a_fitted_file_is_calibrated_again_for_what_is_asked(
    tmp_path: Path, asked: dict[str, Any], run_length: float, bandwidth: float
):
    """A false-alarm rate that stands in the configuration is the one that holds."""
    bench = Bench(MMDConfig(reference=fitted(tmp_path / "fitted.npz"), seed=3, **asked))
    bench.watch.start()
    assert bench.watch.join_calibration(WAIT)
    assert bench.samples.state() == "filling"
    assert bench.samples("drift_expected_run_length", detector="mmd") == run_length
    wanted = OnlineMMD.fit(normal(100), window=5, expected_run_length=run_length, bandwidth=bandwidth, seed=3)
    assert bench.samples("drift_threshold", detector="mmd") == wanted.thresholds[0]


@pytest.mark.parametrize("asked", [{}, {"expected_run_length": 50.0}, {"bandwidth": 2.0}, {"window": 5}])
def test_a_fitted_file_that_is_what_is_asked_serves_as_it_is(tmp_path: Path, asked: dict[str, Any]):
    bench = Bench(MMDConfig(reference=fitted(tmp_path / "fitted.npz"), **asked))
    assert bench.watch.state == "filling"
    assert bench.samples("drift_expected_run_length", detector="mmd") == 50


def test_a_checkpoint_of_a_file_that_was_calibrated_again_is_taken_up(tmp_path: Path):
    config = MMDConfig(
        reference=fitted(tmp_path / "fitted.npz"), expected_run_length=400, checkpoint=tmp_path / "kept.npz"
    )
    first = Bench(config).watch
    first.start()
    assert first.join_calibration(WAIT)
    first.take(observations(normal(7, seed=2)))
    first.close()
    second = Bench(config)
    assert second.watch.state == "filling"
    assert second.watch.detector.n_seen == 7
    assert second.samples("drift_checkpoint_failures_total", detector="mmd") == 0


def test_what_is_asked_of_a_file_has_to_go_with_its_windows(tmp_path: Path):
    path = fitted(tmp_path / "fitted.npz")
    np.save(tmp_path / "r.npy", normal(200))
    with pytest.raises(ConfigError, match=r"drift\.expected_run_length: 20.* window of 50 needs at least 50"):
        Bench(MMDConfig(reference=tmp_path / "r.npy", expected_run_length=20))
    assert Bench(MMDConfig(reference=path, expected_run_length=20)).watch.state == "calibrating"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_learnt(
    monkeypatch: pytest.MonkeyPatch, device: str
):
    count = int(device[-1]) if device[-1].isdigit() else 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError, match=rf"device: '{device}' is not there \(there are {count}\)"):
        Bench(MMDConfig(device=device))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count + 1)
    assert Bench(MMDConfig(device=device)).watch.state == "learning"
    assert not torch.cuda.is_initialized(), "a process that forks now could not use it in its children"


def test_the_length_that_is_learnt_is_that_of_most():
    bench = Bench(MMDConfig(window=10, reference=LearnConfig(learn=60), seed=1, expected_run_length=50))
    bench.watch.start()
    bench.watch.take(observations([np.zeros(3), *normal(60, d=8)]))
    assert bench.watch.join_calibration(WAIT)
    assert bench.watch.state == "filling"
    assert bench.watch.detector.n_features == 8


def test_another_length_is_said_once_an_hour_with_both(with_detector: Any, caplog: pytest.LogCaptureFixture):
    bench = with_detector(PlainDetector((2,)))
    for now in (1000.0, 1001.0, 4599.0):
        bench.now = now
        bench.watch.take(observations([np.zeros(D + 3), np.zeros(D + 2)]))
    said = f"detector mmd of model m: an embedding of length {D + 3} is refused, its reference has {D}"
    assert caplog.text.count("is refused") == caplog.text.count(said) == 1
    bench.now = 4600.0
    bench.watch.take(observations([np.zeros(D + 3)]))
    assert caplog.text.count(said) == 2
    assert bench.refused == [("embedding", "wrong_shape")] * 7


def test_another_length_while_learning_is_said_too(caplog: pytest.LogCaptureFixture):
    bench = Bench(MMDConfig(window=10, reference=LearnConfig(learn=60)))
    bench.watch.take(observations([*normal(3, d=8), np.zeros(3)]))
    assert "an embedding of length 3 is refused, what it learns from has 8" in caplog.text
    assert bench.refused == [("embedding", "wrong_shape")]


def test_the_evidence_names_the_columns_of_the_reference(tmp_path: Path):
    names = ("age", "income", "height", "weight")
    path = tmp_path / "named.npz"
    OnlineMMD.fit(normal(100), window=5, expected_run_length=50, seed=1, feature_names=names).save(path)
    moved = normal(20, seed=2)
    moved[:, 1] += 9.0
    for asked in ({}, {"expected_run_length": 60.0}):
        bench = Bench(MMDConfig(reference=path, **asked))
        bench.watch.start()
        assert bench.watch.join_calibration(WAIT)
        bench.watch.take(observations(moved))
        assert bench.events[0].moved_dimensions[0][0] == 1
        assert bench.events[0].moved_names[0] == "income"

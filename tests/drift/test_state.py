"""The state folder: what was learned and what runs, over restarts; and whatever may be wrong with a file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporter.config import LearnConfig, MMDConfig, StretchesConfig
from exporter.detectors import OnlineMMD, storage
from exporter.drift.state import file_name
from exporter.drift.watch import DriftWatch
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.observation import Observation
from tests.streams import D, Samples, normal

WAIT = 30.0
PLAN = StretchesConfig(rows=200, over=1000.0, stretch=20, provisional=40)
CONFIG = MMDConfig(window=5, reference=LearnConfig(learn=PLAN), seed=1, expected_run_length=3000)
MODEL = ModelId("m", "")


class Worker:
    """A watch with a state folder, fed with one observation a second from ``now`` on."""

    def __init__(
        self, folder: Path | None, config: MMDConfig = CONFIG, *, now: float = 0.0, model: ModelId = MODEL
    ) -> None:
        registry = CollectorRegistry()
        self.samples = Samples(registry, model.name)
        self.now = now
        self.watch = DriftWatch(
            model,
            config,
            Instruments(registry),
            refuse=lambda *_: None,
            on_event=lambda _: None,
            clock=lambda: self.now,
            state=folder,
        )
        self.watch.start()

    def send(self, rows: np.ndarray, batch: int = 10) -> Worker:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            self.watch.take(
                [Observation("m", "hook", self.now + n, embedding=x) for n, x in enumerate(part, 1)]
            )
            self.now += len(part)
            assert self.watch.join_calibration(WAIT)
        return self

    def shown(self, name: str, **labels: str) -> float | None:
        return self.samples(f"drift_{name}", detector="mmd", **labels)

    def failures(self) -> float | None:
        return self.shown("checkpoint_failures_total")

    def is_at(self) -> tuple[str, int]:
        detector: Any = self.watch.detector
        return self.watch.state, 0 if detector is None else detector.n_seen


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".npz")


def test_learning_goes_on_after_a_restart(tmp_path: Path):
    first = Worker(tmp_path / "made").send(normal(30))
    first.watch.close()
    second = Worker(tmp_path / "made", now=first.now)
    assert second.shown("learning_ratio") == 0.1
    second.send(normal(10, seed=1))
    assert second.watch.state == "filling"
    assert len(second.watch.detector.reference) == 40


def test_a_provisional_detector_and_its_learning_go_on(tmp_path: Path):
    first = Worker(tmp_path).send(normal(500))
    first.watch.close()
    second = Worker(tmp_path, now=first.now)
    assert second.is_at() == ("filling", 460)
    assert second.shown("learning_ratio") == first.shown("learning_ratio") == 0.5
    assert second.shown("reference_info", source="provisional") == 1
    second.send(normal(1, seed=1))
    assert second.watch.state == "provisional"
    second.send(normal(440, seed=2))
    assert second.shown("reference_info", source="learned") == 1
    assert second.shown("reference_rows") == 200


def test_what_was_learned_and_what_runs_go_on(tmp_path: Path):
    first = Worker(tmp_path).send(normal(1000))
    first.watch.close()
    second = Worker(tmp_path, now=first.now)
    assert second.is_at() == ("filling", first.is_at()[1])
    assert second.shown("learning_ratio") == 1
    assert second.shown("reference_info", source="restored") == 1
    for name in ("reference_rows", "reference_timestamp_seconds", "threshold"):
        assert second.shown(name) == first.shown(name)
    np.testing.assert_array_equal(second.watch.detector.reference, first.watch.detector.reference)
    second.watch.close()
    third = Worker(tmp_path, now=second.now)
    assert third.shown("reference_timestamp_seconds") == first.shown("reference_timestamp_seconds")
    assert third.failures() == 0


def test_a_crash_loses_a_minute_at_most(tmp_path: Path):
    first = Worker(tmp_path).send(normal(500))
    os.close(first.watch._keeping._state._lock)  # as the kernel does for a process that was killed
    first.watch._keeping._state._lock = None
    second = Worker(tmp_path, now=first.now)
    assert second.watch.state == "filling"
    assert 0 <= first.is_at()[1] - second.is_at()[1] <= 60


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Worker(None).send(normal(100)).watch.close()
    assert list(tmp_path.iterdir()) == []


def test_files_are_their_owners_alone_and_whole(tmp_path: Path):
    worker = Worker(tmp_path / "state").send(normal(300))
    worker.watch.close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()] == [0o600] * 2
    assert [path.name for path in files(tmp_path / "state")] == [f"{file_name(MODEL, 'mmd')}.0.npz"]


def test_models_versions_and_detectors_have_files_of_their_own(tmp_path: Path):
    names = {
        file_name(ModelId(model, version), label)
        for model in ("m", "M/..", "é" * 128, "m m", "m_m")
        for version in ("", "1")
        for label in ("mmd", "other")
    }
    assert len(names) == 20
    assert all(len(name) < 200 and "/" not in name and name.isascii() for name in names)
    Worker(tmp_path, model=ModelId("m", "1")).send(normal(40)).watch.close()
    assert Worker(tmp_path, model=ModelId("m", "2")).watch.state == "learning"
    assert Worker(tmp_path, model=ModelId("m", "1")).watch.state == "filling"


def test_workers_have_files_of_their_own_and_begin_with_what_another_learned(tmp_path: Path):
    first = Worker(tmp_path).send(normal(1000))
    first.send(normal(70, seed=5))
    second = Worker(tmp_path, now=first.now)
    assert second.is_at() == ("filling", 0)
    np.testing.assert_array_equal(second.watch.detector.reference, first.watch.detector.reference)
    second.send(normal(7, seed=6))
    first.watch.close()
    second.watch.close()
    assert len(files(tmp_path)) == 2
    again = [Worker(tmp_path, now=first.now) for _ in range(2)]
    assert [worker.is_at()[1] for worker in again] == [first.is_at()[1], 7]


def test_a_worker_does_not_begin_with_what_is_provisional(tmp_path: Path):
    first = Worker(tmp_path).send(normal(200))
    second = Worker(tmp_path, now=first.now)
    assert (first.watch.state, second.watch.state) == ("provisional", "learning")


@pytest.fixture(scope="module")
def a_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was kept when all was learned."""
    folder = tmp_path_factory.mktemp("learned")
    Worker(folder).send(normal(1000)).watch.close()
    return folder


@pytest.fixture
def learned(a_day: Path, tmp_path: Path) -> Path:
    """The file of a folder of which all was learned: ``tmp_path``."""
    (path,) = files(a_day)
    return Path(shutil.copy(path, tmp_path))


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "detector", "newer", "folder"])
def test_a_file_that_cannot_be_read_is_said_counted_and_replaced(
    tmp_path: Path, learned: Path, caplog: pytest.LogCaptureFixture, damage: str
):
    path = learned
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "detector":  # a checkpoint, as was kept before there was a state
        OnlineMMD.fit(normal(100), window=5, expected_run_length=50, seed=1).save(path)
    elif damage == "newer":
        settings, arrays = storage.read(path, "drift-state")
        storage.write(path, "drift-state", settings | {"format": 99}, arrays, mode=0o600)
    else:
        at = len(data) // 2
        flipped = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        path.write_bytes({"empty": b"", "cut": data[:at], "flipped": flipped, "text": b"hello"}[damage])
    worker = Worker(tmp_path)
    assert worker.watch.state == "learning"
    assert worker.failures() == 1
    assert "is not taken up, what is normal is learned anew" in caplog.text
    worker.send(normal(100)).watch.close()
    if damage != "folder":
        assert Worker(tmp_path, now=100.0).watch.state == "filling"


@pytest.mark.usefixtures("learned")
def test_a_file_of_another_configuration_is_not_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    other = StretchesConfig(rows=200, over=2000.0, stretch=20, provisional=40)
    worker = Worker(tmp_path, CONFIG.model_copy(update={"reference": LearnConfig(learn=other)}))
    assert worker.watch.state == "learning"
    assert worker.failures() == 1
    assert "it belongs to" in caplog.text


@pytest.mark.parametrize("asked", [{"expected_run_length": 300.0}, {"window": (5, 10)}, {"bandwidth": 2.0}])
@pytest.mark.usefixtures("learned")
def test_what_was_learned_is_calibrated_again_for_what_is_asked_now(tmp_path: Path, asked: dict[str, Any]):
    """A day of learning is not lost where somebody wants fewer false alarms."""
    worker = Worker(tmp_path, CONFIG.model_copy(update=asked))
    assert worker.watch.join_calibration(WAIT)
    assert worker.watch.state == "filling"
    detector: Any = worker.watch.detector
    assert len(detector.reference) == 200
    assert detector.block == 20
    assert worker.failures() == 0
    for name, value in asked.items():
        assert getattr(detector, name if name != "window" else "windows") == value


def test_a_running_detector_of_a_file_goes_on_and_one_of_another_file_does_not(tmp_path: Path):
    np.save(tmp_path / "r.npy", normal(100))
    config = MMDConfig(window=5, reference=tmp_path / "r.npy", seed=1, expected_run_length=50)
    first = Worker(tmp_path / "state", config)
    assert first.watch.join_calibration(WAIT)
    first.send(normal(17, seed=2)).watch.close()
    assert Worker(tmp_path / "state", config).is_at() == ("filling", 17)
    np.save(tmp_path / "r.npy", normal(100, seed=9))
    again = Worker(tmp_path / "state", config)
    assert again.watch.join_calibration(WAIT)
    assert again.is_at() == ("filling", 0)
    assert again.failures() == 1


def test_a_checkpoint_keeps_no_provisional_detector(tmp_path: Path):
    config = CONFIG.model_copy(update={"checkpoint": tmp_path / "kept.npz", "checkpoint_interval": 1.0})
    worker = Worker(tmp_path / "state", config).send(normal(100))
    worker.watch.close()
    assert not (tmp_path / "kept.npz").exists()
    again = Worker(tmp_path / "state", config, now=worker.now).send(normal(900, seed=1))
    again.watch.close()
    assert len(OnlineMMD.load(tmp_path / "kept.npz").reference) == 200


def test_a_folder_that_cannot_be_made_is_said_and_the_service_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("")
    worker = Worker(tmp_path / "file" / "state").send(normal(60))
    assert worker.watch.state == "provisional"
    assert worker.failures() == 1
    assert "cannot be used, so nothing is kept" in caplog.text


def test_a_child_process_leaves_the_parents_file_alone(tmp_path: Path):
    parent = Worker(tmp_path).send(normal(60))
    parent.watch.after_fork()
    child = Worker(tmp_path, now=60.0)
    child.send(normal(D)).watch.close()
    assert len(files(tmp_path)) == 1  # its own; what the parent has is written by the parent

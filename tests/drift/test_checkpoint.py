"""Checkpoints: written in time, never torn, taken up where they were left, or skipped with a warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporter.config import LearnConfig, MMDConfig
from exporter.detectors import OnlineMMD
from exporter.detectors.registry import DETECTORS, DetectorType
from exporter.drift.checkpoint import Checkpoint
from exporter.drift.watch import DriftWatch
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from tests.streams import Samples, normal, observations

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Saves:
    """Stands in for a detector: notes when it is saved."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.times: list[float] = []
        self.broken = False

    def save(self, path: Path, *, mode: int) -> None:
        assert mode == 0o600
        if self.broken:
            raise OSError("no space left")
        self.times.append(self.clock.now)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "fitted.npz"
    OnlineMMD.fit(normal(200), window=20, expected_run_length=200, seed=1).save(path)
    return path


def watch(config: MMDConfig) -> tuple[DriftWatch, Samples, list[Any]]:
    registry = CollectorRegistry()
    events: list[Any] = []
    made = DriftWatch(
        ModelId("m"), config, Instruments(registry), refuse=lambda *_: None, on_event=events.append
    )
    return made, Samples(registry), events


def test_it_is_written_once_an_interval(tmp_path: Path):
    clock = Clock()
    written: list[float] = []
    checkpoint = Checkpoint(tmp_path / "x", 60.0, written=written.append, failed=lambda: None, clock=clock)
    saves = Saves(clock)
    for now in (1000.0, 1059.9, 1060.0, 1061.0, 1119.9, 1120.0):
        clock.now = now
        checkpoint.save_if_due(saves)
    assert saves.times == written == [1060.0, 1120.0]


def test_a_clock_that_is_set_back_does_not_end_the_checkpoints(tmp_path: Path):
    clock = Clock()
    checkpoint = Checkpoint(tmp_path / "x", 60.0, written=lambda _: None, failed=lambda: None, clock=clock)
    saves = Saves(clock)
    for now in (500.0, 501.0, 561.0):
        clock.now = now
        checkpoint.save_if_due(saves)
    assert saves.times == [500.0, 561.0]


def test_a_failure_is_counted_and_the_next_one_comes_an_interval_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    clock = Clock()
    failures: list[float] = []
    checkpoint = Checkpoint(
        tmp_path / "x", 60.0, written=lambda _: None, failed=lambda: failures.append(clock.now), clock=clock
    )
    saves = Saves(clock)
    saves.broken = True
    for now in (1060.0, 1061.0, 1120.0):
        clock.now = now
        checkpoint.save_if_due(saves)
    assert failures == [1060.0, 1120.0]
    assert "no space left" in caplog.text


def test_a_service_goes_on_where_it_was(fitted: Path, tmp_path: Path):
    config = MMDConfig(reference=fitted, checkpoint=tmp_path / "kept.npz")
    stream = observations(np.concatenate([normal(70, seed=5), normal(60, seed=6, shift=2.0)]))
    uninterrupted, all_samples, all_events = watch(config)
    uninterrupted.take(stream[:80])
    uninterrupted.take(stream[80:])

    first, _, _ = watch(config)
    first.take(stream[:80])
    first.close()
    second, samples, events = watch(config)
    second.take(stream[80:])
    assert second.state == "ready"
    for name in ("drift_test_stat_last", "drift_threshold", "drift_score_ratio"):
        assert samples(name, detector="mmd") == all_samples(name, detector="mmd")
    assert samples("drift_test_stat_count", detector="mmd") == 50
    assert len(all_events) == 1
    assert len(events) == 1
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 0


def test_a_detector_that_was_learnt_is_not_learnt_again(tmp_path: Path):
    config = MMDConfig(
        window=10,
        reference=LearnConfig(learn=60),
        seed=1,
        expected_run_length=50,
        checkpoint=tmp_path / "kept.npz",
    )
    first, _, _ = watch(config)
    first.start()
    first.take(observations(normal(60)))
    assert first.join_calibration(30)
    first.close()
    second, samples, _ = watch(config)
    assert second.state == "filling"
    assert first.detector is not None
    assert second.detector is not None
    np.testing.assert_array_equal(second.detector.thresholds, first.detector.thresholds)
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 0


def cannot_be_read(path: Path) -> None:
    path.mkdir()  # may as well be a file that another user owns


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a file of ours"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        cannot_be_read,
    ],
    ids=["empty", "something else", "cut short", "no file at all"],
)
def test_a_damaged_checkpoint_means_a_cold_start(
    fitted: Path, tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
):
    kept = tmp_path / "kept.npz"
    if damage is not cannot_be_read:
        kept.write_bytes(fitted.read_bytes())
    damage(kept)
    made, samples, _ = watch(MMDConfig(reference=fitted, checkpoint=kept))
    assert made.state == "filling"
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 1
    assert "is skipped, the detector starts cold" in caplog.text


@pytest.mark.parametrize("raised", [NotImplementedError, RuntimeError, PermissionError, AttributeError])
def test_no_checkpoint_stops_a_service(
    fitted: Path, tmp_path: Path, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    """Whatever a reader makes of damaged bytes, the service starts, and counts it."""
    kept = tmp_path / "kept.npz"
    kept.write_bytes(fitted.read_bytes())
    load = OnlineMMD.load

    def broken(path: Path, *, device: str) -> OnlineMMD:
        if path == kept:
            raise raised("strange")
        return load(path, device=device)

    monkeypatch.setitem(DETECTORS, "mmd", DetectorType(broken, fit=OnlineMMD.fit))
    made, samples, _ = watch(MMDConfig(reference=fitted, checkpoint=kept))
    assert made.state == "filling"
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 1


def test_only_its_owner_can_read_a_checkpoint(fitted: Path, tmp_path: Path):
    kept = tmp_path / "kept.npz"
    kept.write_bytes(fitted.read_bytes())
    kept.chmod(0o644)
    made, _, _ = watch(MMDConfig(reference=fitted, checkpoint=kept))
    made.close()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_one_writes_a_checkpoint_and_others_say_why_they_do_not(
    fitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = MMDConfig(reference=fitted, checkpoint=tmp_path / "kept.npz", checkpoint_interval=1e-6)
    (first, first_samples, _), (second, second_samples, _) = watch(config), watch(config)
    first.take(observations(normal(3, seed=3)))
    for seed in (4, 6):
        second.take(observations(normal(1, seed=seed)))
    assert first_samples("drift_checkpoint_failures_total", detector="mmd") == 0
    assert second_samples("drift_checkpoint_failures_total", detector="mmd") == 2
    assert caplog.text.count("is written by another process or detector") == 1
    assert OnlineMMD.load(tmp_path / "kept.npz").n_seen == 3
    first.close()
    second.take(observations(normal(1, seed=5)))
    assert OnlineMMD.load(tmp_path / "kept.npz").n_seen == 3
    assert second_samples("drift_checkpoint_failures_total", detector="mmd") == 2


def test_a_fork_leaves_the_checkpoint_to_the_parent(fitted: Path, tmp_path: Path):
    kept = tmp_path / "kept.npz"
    made, samples, _ = watch(MMDConfig(reference=fitted, checkpoint=kept, checkpoint_interval=1e-6))
    made.take(observations(normal(3, seed=3)))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            made.after_fork()
            made.take(observations(normal(5, seed=4)))
            code = 0 if samples("drift_checkpoint_failures_total", detector="mmd") == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert OnlineMMD.load(kept).n_seen == 3
    made.take(observations(normal(1, seed=5)))
    assert OnlineMMD.load(kept).n_seen == 4


def test_what_a_killed_process_left_is_gone_after_the_next_write(fitted: Path, tmp_path: Path):
    kept = tmp_path / "kept.npz"
    (tmp_path / ".kept.npz.4711.tmp").write_bytes(b"half a checkpoint")
    made, _, _ = watch(MMDConfig(reference=fitted, checkpoint=kept))
    made.close()
    assert {path.name for path in tmp_path.iterdir()} == {"kept.npz", ".kept.npz.lock"}


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 10},
        {"expected_run_length": 300.0},
        {"bandwidth": 0.5},
        {"reference": "other"},
        {"reference": "fitted again"},
    ],
    ids=str,
)
def test_a_checkpoint_made_under_other_rules_is_passed_over(
    tmp_path: Path, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    np.save(tmp_path / "reference.npy", normal(200))
    np.save(tmp_path / "other.npy", normal(200, seed=9))
    settings = {"window": 20, "expected_run_length": 200.0, "reference": tmp_path / "reference.npy"}
    kept = tmp_path / "kept.npz"
    OnlineMMD.fit(normal(200), window=20, expected_run_length=200, seed=1).save(kept)
    same, samples, _ = watch(MMDConfig(**settings, checkpoint=kept))
    assert same.detector is not None
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 0
    if changes.get("reference") == "other":
        changes = {"reference": tmp_path / "other.npy"}
    elif changes.get("reference") == "fitted again":
        again = tmp_path / "again.npz"
        OnlineMMD.fit(normal(200), window=20, expected_run_length=200, seed=2).save(again)
        changes = {"reference": again}
    made, samples, _ = watch(MMDConfig(**(settings | changes), checkpoint=kept))
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 1
    assert "is skipped" in caplog.text
    assert made.detector is None or made.detector.thresholds != same.detector.thresholds


def test_a_folder_that_is_not_there_fails_without_harm(fitted: Path, tmp_path: Path):
    made, samples, _ = watch(MMDConfig(reference=fitted, checkpoint=tmp_path / "none" / "kept.npz"))
    made.take(observations(normal(30, seed=3)))
    made.close()
    assert made.state == "ready"
    assert samples("drift_checkpoint_failures_total", detector="mmd") == 1


_KILLED = """
import sys
import time
import numpy as np
from pathlib import Path
from exporter.config import Config, MMDConfig, QueueConfig
from exporter.observation import Observation
from exporter.runtime import Runtime

fitted, kept, stream = map(Path, sys.argv[1:])
config = Config(
    model="m",
    drift=(MMDConfig(reference=fitted, checkpoint=kept, checkpoint_interval=1e-6),),
    queue=QueueConfig(flush_interval_seconds=0.001, max_batch=7),
)
runtime = Runtime(config)
runtime.start()
for n, row in enumerate(np.load(stream)):
    runtime.submit(Observation("m", "hook", float(n), embedding=row), "hook")
    print(n, flush=True)
    time.sleep(0.001)
"""


def test_a_kill_at_any_moment_leaves_a_checkpoint_to_go_on_from(fitted: Path, tmp_path: Path):
    rows = np.concatenate([normal(2000, seed=7), normal(100, seed=8, shift=1.5)])
    np.save(tmp_path / "stream.npy", rows)
    kept = tmp_path / "kept.npz"
    for kill_after in (40, 300):
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(fitted), str(kept), str(tmp_path / "stream.npy")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        while int(process.stdout.readline()) < kill_after or not kept.exists():
            pass
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait(30)
        config = MMDConfig(reference=fitted, checkpoint=kept)
        made, samples, _ = watch(config)
        assert samples("drift_checkpoint_failures_total", detector="mmd") == 0
        detector = made.detector
        assert isinstance(detector, OnlineMMD)
        seen = detector.n_seen
        assert 0 < seen <= len(rows)
        uninterrupted = OnlineMMD.load(fitted)
        uninterrupted.update(rows[:seen])
        rest = rows[seen:]
        expected, found = uninterrupted.update(rest), detector.update(rest)
        np.testing.assert_allclose(found.test_stat, expected.test_stat, atol=1e-6)
        np.testing.assert_array_equal(found.is_drift, expected.is_drift)
        assert found.is_drift.any()
        kept.unlink()

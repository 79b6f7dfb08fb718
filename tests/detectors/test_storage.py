from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from exporter.detectors import OnlineMMD, storage
from exporter.errors import DetectorFileError


def stream(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "detector.npz"
    detector = OnlineMMD.fit(stream(120, 0), window=[5, 12], expected_run_length=100, seed=0)
    detector.update(stream(40, 1))
    detector.save(path)
    return path


@pytest.mark.parametrize("already", [0, 3, 12, 100])
def test_after_a_load_the_verdicts_are_those_of_an_uninterrupted_run(tmp_path: Path, already: int) -> None:
    detector = OnlineMMD.fit(stream(120, 0), window=[5, 12], expected_run_length=100, seed=0)
    detector.update(stream(already, 2))
    detector.save(tmp_path / "d.npz")
    loaded = OnlineMMD.load(tmp_path / "d.npz", device="cpu")
    expected, found = detector.update(stream(60, 3)), loaded.update(stream(60, 3))
    np.testing.assert_array_equal(found.test_stat_by_window, expected.test_stat_by_window)
    np.testing.assert_array_equal(loaded.thresholds, detector.thresholds)
    assert loaded.n_seen == detector.n_seen
    assert loaded.report == detector.report
    assert (loaded.windows, loaded.bandwidth, loaded.expected_run_length) == (
        (5, 12),
        detector.bandwidth,
        100.0,
    )
    np.testing.assert_array_equal(loaded.evidence().shifts, detector.evidence().shifts)


def test_a_float64_reference_comes_back_exactly(saved: Path) -> None:
    _, arrays = storage.read(saved, "online-mmd")
    np.testing.assert_array_equal(arrays["reference"], stream(120, 0))


def test_what_is_kept_is_read_by_every_numpy(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before NumPy 2.2 ``savez`` takes every keyword for an array to save."""
    given = {}
    monkeypatch.setattr(np, "savez", lambda file, **arrays: given.update(arrays))
    storage.write(saved.with_name("other.npz"), "online-mmd", {}, {"one": np.ones(2)}, mode=0o600)
    assert sorted(given) == ["one", "settings", "sha256"]


def test_objects_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    storage.write(tmp_path / "d.npz", "online-mmd", {}, {"one": np.ones(2)}, mode=0o600)
    with pytest.raises(ValueError, match="one: objects"):
        storage.write(tmp_path / "d.npz", "online-mmd", {}, {"one": np.array([{}])}, mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]
    storage.read(tmp_path / "d.npz", "online-mmd")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "detector.npz"
    detector = OnlineMMD.fit(stream(40, 0)[:, :1], window=2, expected_run_length=20, seed=0)
    detector.update(stream(3, 1)[:, :1])
    detector.save(path)
    return path


def test_any_damaged_byte_is_noticed_or_harmless(small: Path, tmp_path: Path) -> None:
    """Whatever zipfile, NumPy and JSON make of it: DetectorFileError, or the very detector."""
    data = small.read_bytes()
    after = stream(5, 4)[:, :1]
    expected = OnlineMMD.load(small).update(after).test_stat
    path = tmp_path / "broken.npz"
    noticed = 0
    # All of the archive's directory, at the end, and a third of what stands before it.
    positions = [*range(0, len(data) - 1000, 3), *range(len(data) - 1000, len(data))]
    for at in positions:
        damaged = data[at] ^ (0xFF, 0x10, 0x01)[at % 4 % 3]
        path.write_bytes(data[:at] + bytes([damaged]) + data[at + 1 :])
        try:
            detector = OnlineMMD.load(path)
        except DetectorFileError:
            noticed += 1
        else:  # a time stamp or the like in the archive's own directory
            np.testing.assert_array_equal(detector.update(after).test_stat, expected)
    assert noticed > 0.6 * len(positions)


def test_wherever_a_file_is_cut_off_the_error_is_clear(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "short.npz").write_bytes(data[:length])
        with pytest.raises(DetectorFileError, match=r"short\.npz: not a detector file, or damaged"):
            OnlineMMD.load(tmp_path / "short.npz")


@pytest.mark.parametrize("raised", [NotImplementedError, RuntimeError, RecursionError, MemoryError])
def test_whatever_reading_raises_is_a_damaged_file(
    small: Path, monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise raised("that compression method is not supported")

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(DetectorFileError, match="not a detector file, or damaged"):
        OnlineMMD.load(small)


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OnlineMMD.load(tmp_path / "none.npz")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_nothing_pickled_is_ever_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("bomb.npz", reference=np.array([Bomb()], dtype=object))
    Path("raw.npz").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.npz", "raw.npz"):
        with pytest.raises(DetectorFileError, match="damaged"):
            OnlineMMD.load(name)
    assert not Path("exploded").exists()
    pickle.loads(Path("raw.npz").read_bytes())
    assert Path("exploded").exists(), "the bomb must be live for this test to mean anything"


def rewritten(saved: Path, path: Path, **changes: object) -> Path:
    settings, arrays = storage.read(saved, "online-mmd")
    del settings["kind"], settings["format"]
    storage.write(path, "online-mmd", settings | changes, arrays, mode=0o644)
    return path


def test_a_future_version_is_said_to_be_one(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path / "future.npz", format=storage.FORMAT_VERSION + 1)
    with pytest.raises(DetectorFileError, match="format version 2; this version reads up to 1: upgrade"):
        OnlineMMD.load(path)


def test_another_kind_of_file_is_said_to_be_one(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path / "other.npz", kind="sketch")
    with pytest.raises(DetectorFileError, match="holds 'sketch', not 'online-mmd'"):
        OnlineMMD.load(path)


@pytest.mark.parametrize("name", ["ring_rows", "ring_forward", "ring_count", "thresholds"])
def test_arrays_that_do_not_belong_together_are_refused(saved: Path, tmp_path: Path, name: str) -> None:
    settings, arrays = storage.read(saved, "online-mmd")
    del settings["kind"], settings["format"]
    arrays[name] = arrays[name][:-1]
    storage.write(tmp_path / "odd.npz", "online-mmd", settings, arrays, mode=0o644)
    with pytest.raises(DetectorFileError, match="no usable detector"):
        OnlineMMD.load(tmp_path / "odd.npz")


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(saved.read_bytes())

    def full(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        OnlineMMD.load(saved).save(path)
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_settings_are_plain_json(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as archive:
        settings = json.loads(archive["settings"].tobytes())
    assert settings["kind"] == "online-mmd"
    assert settings["windows"] == [5, 12]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_the_mode_that_was_asked_for(saved: Path, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "d.npz"
    path.touch(mode=0o666)
    before = os.umask(0o077)
    try:
        OnlineMMD.load(saved).save(path, mode=mode)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_what_a_killed_writer_left_is_removed_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("d.npz", ".d.npz.lock", ".d.npz.bak", ".other.npz.12.tmp")]
    for path in [*kept, tmp_path / ".d.npz.12.tmp", tmp_path / f".d.npz.{os.getpid()}.tmp"]:
        path.write_bytes(b"half")
    storage.remove_half_written(tmp_path / "d.npz")
    assert set(tmp_path.iterdir()) == set(kept)
    (tmp_path / f".d.npz.{os.getpid()}.tmp").write_bytes(b"half")
    OnlineMMD.load(saved).save(tmp_path / "d.npz")
    assert set(tmp_path.iterdir()) == set(kept)

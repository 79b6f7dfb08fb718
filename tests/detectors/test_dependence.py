"""The false-alarm rate holds on streams whose neighbours are alike, and no drift is taken for likeness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from exporter.detectors import OnlineMMD, storage
from exporter.detectors.base import Scores
from exporter.detectors.mmd import dependence_estimator, lags
from exporter.detectors.mmd.dependence import Dependence, Null
from tests.detectors.dependent import STREAMS, autoregressive, normal

W, R = 20, 300


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], OnlineMMD]:
    """A fresh copy of a detector of independent normal rows."""
    path = tmp_path_factory.mktemp("dependence") / "d.npz"
    OnlineMMD.fit(normal(np.random.default_rng(0), 800), window=W, expected_run_length=R, seed=0).save(path)
    return lambda: OnlineMMD.load(path, device="cpu")


def plain(scores: Scores) -> NDArray[np.float64]:
    assert scores.uncorrected_by_window is not None
    return scores.uncorrected_by_window


def alarms(statistics: NDArray[np.float64], threshold: float) -> int:
    """False alarms, if the window were emptied after each."""
    count, until = 0, 0
    for at in np.flatnonzero(statistics > threshold):
        if at >= until:
            count, until = count + 1, int(at) + W
    return count


@pytest.mark.parametrize("name", STREAMS)
def test_false_alarms_come_as_rarely_as_asked(name: str) -> None:
    independent, stream = STREAMS[name]
    found = without = tests = 0
    for seed in range(2):
        rng = np.random.default_rng([seed, 1])
        detector = OnlineMMD.fit(independent(rng, 600), window=W, expected_run_length=R, seed=seed)
        scores = detector.update(stream(rng, 15_000))
        found += alarms(scores.test_stat, detector.threshold)
        without += alarms(plain(scores)[:, 0], detector.threshold)
        tests += 15_000
    assert 0.5 < (tests / found - W + 1) / R < 2.5
    assert without > 5 * found  # the negative control


def test_an_independent_stream_is_tested_as_it_was(fitted: Callable[[], OnlineMMD]) -> None:
    detector = fitted()
    scores = detector.update(normal(np.random.default_rng(2), 5000))
    np.testing.assert_array_equal(scores.test_stat_by_window, plain(scores))
    assert detector.dependence.effective_sample_ratio == 1.0
    assert detector.dependence.ok


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_what_an_observation_is_worth_is_found(fitted: Callable[[], OnlineMMD], rho: float) -> None:
    detector = fitted()
    detector.update(autoregressive(rho)(np.random.default_rng(3), 10_000))
    lags = np.arange(1, W)
    theory = 1.0 / (1.0 + 2.0 * ((1.0 - lags / W) * rho**lags).sum())
    assert detector.dependence.effective_sample_ratio[0] == pytest.approx(theory, rel=0.3)
    assert detector.dependence.ok


def test_the_statistics_own_maxima_take_over_when_there_are_enough(fitted: Callable[[], OnlineMMD]) -> None:
    detector = fitted()
    rng, parts = np.random.default_rng(4), detector._dependence._parts
    stream = autoregressive(0.7)(rng, 60 * 1024 // parts)
    taken_over, before = None, detector.dependence
    for start in range(0, len(stream), 1024):
        detector.update(stream[start : start + 1024])
        found = detector.dependence
        if taken_over is None and not np.isnan(found.observed_scale[0]):
            taken_over = start
            assert found.scale[0] == pytest.approx(found.observed_scale[0], rel=0.15)
            assert before.scale[0] / 1.5 < found.scale[0] < before.scale[0] * 1.5
        before = found
    assert taken_over is not None
    assert taken_over >= 40 * 1024 // parts - 1024


def null(loud: float) -> Null:
    return Null((W,), np.array([0.1]), 0.4, 0.1, 250, loud_maxima=(loud,))


@pytest.mark.parametrize("loud", [0.02, 0.2])
def test_maxima_that_the_dependence_does_not_bear_out_are_not_believed(loud: float) -> None:
    first = Dependence((W,), np.array([0.5]), np.zeros(1), np.array([2.0]), np.full(1, np.nan), 20_000)
    maxima = np.full((40, 1), 0.1)
    found = first.refined(maxima, np.zeros(1), True, null(loud))
    assert found.scale[0] == 2.0
    assert found.ok == (loud == 0.2)  # too quiet is nothing to warn of
    agreeing = first.refined(maxima, np.zeros(1), True, null(0.04))
    # A quarter larger than explained at their 80 % point: half of that more further out.
    assert (agreeing.scale[0], agreeing.ok) == (pytest.approx(2.5 * np.sqrt(1.25)), True)
    assert agreeing.effective_sample_ratio[0] == pytest.approx(0.4)


def test_a_window_with_too_little_in_it_and_too_short_a_look_are_said() -> None:
    few = Dependence((W,), np.array([0.1]), np.zeros(1), np.array([10.0]), np.full(1, np.nan), 20_000)
    assert "holds about 2.0 independent observations" in few.judged(1000, 10_000).reason
    young = Dependence((W,), np.array([0.5]), np.zeros(1), np.array([2.0]), np.full(1, np.nan), 64)
    assert young.judged(1000, 10_000).reason == "the dependence is learned from 64 observations so far"
    assert Dependence.none((W,), 64).judged(1000, 10_000).ok


def test_a_drift_is_not_taken_for_dependence(
    fitted: Callable[[], OnlineMMD], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    stream = autoregressive(0.7)(rng, 20_000)
    stream[6500:] += np.float32(1.0)
    detector = fitted()
    detector.update(stream[:6500])
    before = detector.dependence
    scores = detector.update(stream[6500:])
    assert scores.is_drift[100:].mean() > 0.85
    assert detector.dependence.rows < before.rows + 1100
    np.testing.assert_allclose(detector.dependence.scale, before.scale, rtol=0.2)
    # The negative control: learned from as well, the drift counts as what the stream is like.
    monkeypatch.setattr(dependence_estimator, "_LOUD", 1.0)
    monkeypatch.setattr(dependence_estimator, "_HIGH", np.inf)
    careless = fitted()
    careless.update(stream)
    assert careless.dependence.rows > 15_000


def test_a_drift_from_the_first_observation_on_is_seen(fitted: Callable[[], OnlineMMD]) -> None:
    for stream in (normal, autoregressive(0.7)):
        scores = fitted().update(stream(np.random.default_rng(6), 3000) + np.float32(1.0))
        assert scores.is_drift[200:].mean() > 0.9


@pytest.mark.parametrize("clean", [20, 40])
def test_a_drift_after_a_few_observations_is_not_explained_away(
    clean: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handwritten digits, every one another, turned on their side from then on."""
    images = np.random.default_rng(22).permutation(load_digits().images / 16.0)
    detector = OnlineMMD.fit(images[:500].reshape(500, -1), window=50, expected_run_length=1000, seed=0)
    turned = np.rot90(images[900 + clean : 1050 + clean], axes=(1, 2))
    stream = np.concatenate([images[900 : 900 + clean], turned]).reshape(-1, 64)
    scores = detector.update(stream)
    assert scores.is_drift[70:].all()
    # The negative control: likeness over the whole of a short stretch is believed.
    monkeypatch.setattr(lags, "_SLACK", 1e9)
    detector.reset()
    believing = detector.update(stream).test_stat
    assert np.nanmin(believing[70:]) < 0.5 * np.nanmin(scores.test_stat[70:])


def test_nothing_is_kept_of_what_a_drift_began_in(fitted: Callable[[], OnlineMMD]) -> None:
    detector, clean = fitted(), normal(np.random.default_rng(23), 32)
    clean[16:] += np.float32(3.0)  # one change, in the first stretch that is learned from
    detector.update(clean)
    scores = detector.update(normal(np.random.default_rng(24), 500) + np.float32(3.0))
    assert detector.dependence.rows == 0
    assert detector.dependence.scale[0] == 1.0
    assert scores.is_drift[40:].all()


def test_a_slow_ramp_is_seen_as_soon_as_without(fitted: Callable[[], OnlineMMD]) -> None:
    """From nothing to one standard deviation over 20,000 observations."""
    n = 20_000
    ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)[:, None]
    late, detector = [], fitted()
    for seed in range(3):
        detector.reset()
        scores = detector.update(normal(np.random.default_rng([seed, 7]), n) + ramp)
        # To last: a drift of which nine in ten of 500 tests speak.
        lasting = [
            int(np.argmax(np.convolve(x > detector.threshold, np.full(500, 1 / 500), "valid") > 0.9))
            for x in (scores.test_stat, plain(scores)[:, 0])
        ]
        assert lasting[1] > 0
        late.append(lasting[0] / lasting[1] if lasting[0] else np.inf)
    assert np.mean(late) < 1.05


def test_each_window_is_corrected_by_its_own() -> None:
    rng = np.random.default_rng(8)
    detector = OnlineMMD.fit(normal(rng, 600), window=[5, 20, 120], expected_run_length=1000, seed=0)
    scores = detector.update(autoregressive(0.9)(rng, 4000))
    worth = detector.dependence.effective_sample_ratio
    assert (np.diff(worth) < 0).all()
    assert worth[0] > 2 * worth[2]
    assert scores.is_drift.mean() < 0.05 < (plain(scores) > detector.thresholds).any(axis=1).mean()


@pytest.mark.parametrize("already", [0, 20, 700, 1024, 5000])
def test_what_was_learned_is_saved(fitted: Callable[[], OnlineMMD], tmp_path: Path, already: int) -> None:
    detector, rng = fitted(), np.random.default_rng(9)
    stream = autoregressive(0.7)(rng, already + 3000)
    detector.update(stream[:already])
    detector.save(tmp_path / "d.npz")
    loaded = OnlineMMD.load(tmp_path / "d.npz", device="cpu")
    for at in range(already, already + 3000, 700):
        expected, found = detector.update(stream[at : at + 700]), loaded.update(stream[at : at + 700])
        np.testing.assert_array_equal(found.test_stat, expected.test_stat)
    assert loaded.dependence.rows == detector.dependence.rows > 0
    np.testing.assert_array_equal(loaded.dependence.scale, detector.dependence.scale)


def rewritten(path: Path, change: Callable[[dict[str, NDArray[np.float64]]], object]) -> Path:
    settings, arrays = storage.read(path, "online-mmd")
    del settings["kind"], settings["format"]
    change(arrays)
    storage.write(path, "online-mmd", settings, arrays, mode=0o644)
    return path


def test_a_file_from_before_learns_anew(fitted: Callable[[], OnlineMMD], tmp_path: Path) -> None:
    detector, rng = fitted(), np.random.default_rng(10)
    detector.update(autoregressive(0.7)(rng, 3000))
    detector.save(tmp_path / "d.npz")

    def as_before(arrays: dict[str, NDArray[np.float64]]) -> None:
        for name in ("dependence", "dependence_rows", "repeats"):
            del arrays[name]

    loaded = OnlineMMD.load(rewritten(tmp_path / "d.npz", as_before), device="cpu")
    assert (loaded.dependence.rows, loaded.dependence.scale) == (0, 1.0)
    stream = autoregressive(0.7)(rng, 3000)
    np.testing.assert_array_equal(plain(loaded.update(stream)), plain(detector.update(stream)))
    assert loaded.dependence.effective_sample_ratio < 0.5


def test_a_damaged_memory_is_refused(fitted: Callable[[], OnlineMMD], tmp_path: Path) -> None:
    detector = fitted()
    detector.update(normal(np.random.default_rng(11), 100))
    for name in ("dependence", "dependence_rows", "repeats"):
        detector.save(tmp_path / "d.npz")
        path = rewritten(
            tmp_path / "d.npz", lambda arrays, name=name: arrays.update({name: arrays[name][:-1]})
        )
        with pytest.raises(storage.DetectorFileError, match="no usable detector"):
            OnlineMMD.load(path)


def test_the_cut_of_the_stream_does_not_matter(fitted: Callable[[], OnlineMMD]) -> None:
    stream = autoregressive(0.7)(np.random.default_rng(12), 3000)
    expected = fitted().update(stream).test_stat
    detector = fitted()
    found = [detector.update(part).test_stat for part in np.split(stream, [1, 31, 40, 500, 1024, 1025, 2999])]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-7)


def test_torch_agrees(fitted: Callable[[], OnlineMMD], tmp_path: Path) -> None:
    fitted().save(tmp_path / "d.npz")
    stream = autoregressive(0.7)(np.random.default_rng(13), 2500)
    stream[70], stream[71] = stream[69], np.nan
    found = OnlineMMD.load(tmp_path / "d.npz", device="torch:cpu").update(torch.as_tensor(stream))
    expected = fitted().update(stream)
    np.testing.assert_allclose(found.test_stat, expected.test_stat, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(found.repeated, expected.repeated)


def test_kernel_values_that_are_all_alike_are_no_dependence() -> None:
    rng = np.random.default_rng(14)
    rows = rng.standard_normal((1700, 2048), dtype=np.float32)
    detector = OnlineMMD.fit(rows[:200], window=W, expected_run_length=1000, seed=0)
    scores = detector.update(rows[200:])
    assert scores.is_drift.mean() < 0.02
    assert detector.dependence.scale[0] < 1.1


def test_blocks_of_a_dependent_reference_are_not_corrected_for_twice() -> None:
    rng, stream = np.random.default_rng(15), autoregressive(0.7)
    reference = np.concatenate([stream(rng, 50) for _ in range(20)])
    learned = OnlineMMD.fit(reference, window=W, expected_run_length=R, block=50, seed=0)
    rows = stream(rng, 8000)
    learned.update(rows)
    assert learned.dependence.effective_sample_ratio[0] < 0.4
    assert learned.dependence.scale[0] < 1.5
    assert learned.dependence.shift[0] < 0.3 * learned.threshold


def test_rows_that_hardly_differ_and_modes_that_alternate_are_no_trouble(
    fitted: Callable[[], OnlineMMD],
) -> None:
    detector, rng = fitted(), np.random.default_rng(16)
    assert detector.update(np.float32(1e-6) * normal(rng, 3000)).is_drift[100:].all()
    apart = np.float32(2.0) * np.where(np.arange(4000) % 2, 1.0, -1.0).astype(np.float32)[:, None]
    modes = normal(rng, 4000) + apart
    detector = OnlineMMD.fit(rng.permutation(modes[:800]), window=W, expected_run_length=R, seed=0)
    assert detector.update(modes[800:]).is_drift.mean() < 0.01


@pytest.mark.parametrize(
    ("left", "run_length", "ok"), [(4, 1e4, True), (2, 1e4, False), (12, 3e6, False), (16, 3e6, True)]
)
def test_the_rarer_the_alarm_the_more_a_window_has_to_hold(left: float, run_length: float, ok: bool) -> None:
    """Of a window of 50; at a week's rate 12 independent observations were measured to be too few, 16 not."""
    one, nothing = np.array([left / 50]), np.full(1, np.nan)
    found = Dependence((50,), one, np.zeros(1), 1 / one, nothing, 20_000).judged(1000, run_length)
    assert found.ok == ok
    assert ("independent observations" in found.reason) != ok

"""Exact repeats shortly after one another are left out, of stream and reference alike."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.detectors import OnlineMMD
from exporter.detectors.mmd.repeats import MOST, REACH, Repeats, are_natural, without_neighbours


def rows(n: int, seed: int, d: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, d))


def retried(x: NDArray[np.float64], share: float, seed: int) -> NDArray[np.float64]:
    """A row in so many is that of one of the twenty before it."""
    rng, x = np.random.default_rng(seed), x.copy()
    for i in np.flatnonzero(rng.random(len(x)) < share):
        if i >= 20:
            x[i] = x[i - rng.integers(1, 21)]
    return x


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repeats") / "d.npz"
    OnlineMMD.fit(rows(400, 0), window=20, expected_run_length=500, seed=0).save(path)
    return path


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_a_repeat_is_a_row_that_was_there_within_reach(values: list[int], cuts: list[int]) -> None:
    x = np.array(values, dtype=np.float32).reshape(-1, 1)
    repeats = Repeats()
    found = np.concatenate([repeats.find(part) for part in np.split(x, sorted(cuts))])
    assert found.tolist() == [value in values[:i] for i, value in enumerate(values)]


@pytest.mark.parametrize(("period", "share"), [(REACH, 1.0), (REACH + 1, 0.0)])
def test_the_reach_is_250_observations(fitted: Path, period: int, share: float) -> None:
    """A stream of a long period is what its rows are: tested, without alarm if they are normal, and said."""
    detector = OnlineMMD.load(fitted, device="cpu")
    scores = detector.update(np.tile(rows(period, 1), (6, 1)))
    assert scores.repeated is not None
    assert scores.repeated[:period].sum() == 0
    assert scores.repeated[period:].mean() == share
    assert detector.dependence.ok == (share == 0.0)
    left_out = np.flatnonzero(scores.left_out)
    assert left_out.tolist() == (list(range(period, period + MOST)) if share else [])
    np.testing.assert_array_equal(np.isnan(scores.test_stat[period:]), scores.left_out[period:])
    assert scores.is_drift.mean() < 0.05


def test_retries_are_left_out_and_change_nothing_else(fitted: Path) -> None:
    stream = retried(rows(3000, 2), 0.1, 3)
    detector, once = OnlineMMD.load(fitted, device="cpu"), OnlineMMD.load(fitted, device="cpu")
    scores = detector.update(stream)
    assert scores.repeated is not None
    assert 200 < scores.repeated.sum() < 400
    np.testing.assert_array_equal(scores.left_out, scores.repeated)
    kept = ~scores.repeated
    np.testing.assert_allclose(scores.test_stat[kept], once.update(stream[kept]).test_stat, rtol=0, atol=1e-7)
    assert not scores.is_drift[~kept].any()
    assert scores.witness is not None
    np.testing.assert_array_equal(np.isnan(scores.witness), scores.repeated)
    np.testing.assert_allclose(scores.witness[kept][-20:], detector.evidence().witness, atol=1e-8)
    assert detector.n_seen == kept.sum()
    assert detector.dependence.ok


@pytest.mark.parametrize("period", [1, 2, 5])
def test_a_stream_that_is_stuck_alarms(fitted: Path, period: int) -> None:
    """From its first observation on, or after normal ones: though each row that it brings is normal."""
    for normal in (0, 1000):
        detector = OnlineMMD.load(fitted, device="cpu")
        stuck = np.tile(rows(period, 5), (600 // period, 1))
        scores = detector.update(np.concatenate([rows(normal, 4), stuck]))
        assert scores.repeated is not None
        assert scores.repeated.sum() == len(stuck) - period
        assert scores.left_out.sum() == MOST
        tested = normal + MOST + period
        assert not scores.is_drift[normal:tested].any()
        assert scores.is_drift[tested + 20 :].all()  # nor is it explained away
        assert detector.dependence.reason.startswith("100% of the last 250 observations repeat one before")
        detector.update(rows(200, 6))
        assert detector.dependence.ok


def test_one_drifted_request_again_and_again_alarms_among_normal_ones(fitted: Path) -> None:
    """Two in three are the same; the negative control: one in three are left out and change nothing."""
    for share, drift in ((2 / 3, True), (1 / 3, False)):
        stream = rows(1500, 7)
        stream[500:][np.random.default_rng(8).random(1000) < share] = 2.0
        scores = OnlineMMD.load(fitted, device="cpu").update(stream)
        assert scores.is_drift[900:].mean() > 0.9 if drift else scores.is_drift.mean() < 0.02


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_retries_below_half_are_never_tested(fitted: Path, share: float) -> None:
    scores = OnlineMMD.load(fitted, device="cpu").update(retried(rows(4000, 9), share, 10))
    assert scores.repeated is not None
    assert (scores.repeated & ~scores.left_out).mean() < 0.002
    assert scores.is_drift.mean() < 0.01


def test_each_request_sent_twice_is_left_out_once(fitted: Path) -> None:
    scores = OnlineMMD.load(fitted, device="cpu").update(np.repeat(rows(1000, 11), 2, axis=0))
    assert scores.left_out.tolist() == [False, True] * 1000


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.floats(0.2, 1.0), st.lists(st.integers(0, 900), max_size=5))
def test_left_out_are_repeats_that_are_at_most_half(kinds: int, share: float, cuts: list[int]) -> None:
    rng = np.random.default_rng(kinds)
    x = np.where(rng.random(900) < share, rng.integers(kinds, size=900), 1000 + np.arange(900))
    repeats = Repeats()
    parts = [repeats.take(part) for part in np.split(x.astype(np.float32)[:, None], sorted(cuts))]
    found, out = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    least = [found[max(0, i - REACH + 1) : i + 1].sum() <= MOST for i in range(900)]
    np.testing.assert_array_equal(out, found & np.array(least))
    assert repeats.prevail == (found[-REACH:].sum() > MOST)


def test_refused_rows_are_no_repeats(fitted: Path) -> None:
    stream = rows(50, 6)
    stream[10] = stream[11] = np.nan
    stream[12] = stream[9]
    scores = OnlineMMD.load(fitted, device="cpu").update(stream)
    assert scores.repeated is not None
    assert np.flatnonzero(scores.repeated).tolist() == [12]
    assert np.flatnonzero(scores.refused).tolist() == [10, 11]


def test_what_was_seen_is_saved_and_reset(fitted: Path, tmp_path: Path) -> None:
    detector, stream = OnlineMMD.load(fitted, device="cpu"), rows(30, 7)
    detector.update(stream)
    detector.save(tmp_path / "d.npz")
    loaded = OnlineMMD.load(tmp_path / "d.npz", device="cpu")
    for one in (detector, loaded):
        again = one.update(stream[:5]).repeated
        assert again is not None
        assert again.all()
    for seed in range(2):  # one more of what prevails is tested by both
        more = np.concatenate([rows(1, 20 + seed), np.tile(stream[:5], (30, 1))])
        detector.update(more)
        loaded.update(more)
    detector.save(tmp_path / "d.npz")
    assert not OnlineMMD.load(tmp_path / "d.npz", device="cpu").update(stream[:5]).left_out.any()
    loaded.reset()
    anew = loaded.update(stream[:5]).repeated
    assert anew is not None
    assert not anew.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_any_dtype_on_any_device(fitted: Path, dtype: torch.dtype) -> None:
    detector = OnlineMMD.load(fitted, device="torch:cpu")
    stream = torch.as_tensor(10.0 * rows(40, 8)).to(dtype)
    stream[20] = stream[3]
    found = detector.update(stream).repeated
    assert found is not None
    assert found[20]
    assert found.sum() <= 3


def test_rows_that_differ_in_a_bit_are_different() -> None:
    x = np.zeros((2000, 8), dtype=np.float32)
    bits = x.view(np.uint32)
    bits[np.arange(1999) + 1, np.arange(1999) % 8] = 1 << (np.arange(1999) % 31)
    _, expected = np.unique(bits, axis=0, return_index=True)
    first = Repeats().find(x[np.sort(expected)])
    assert not first.any()


def one_hot(n: int, seed: int) -> NDArray[np.float64]:
    return np.eye(10)[np.random.default_rng(seed).integers(10, size=n)]


def test_rows_that_repeat_by_nature_are_kept() -> None:
    assert are_natural(one_hot(1000, 9))
    assert not are_natural(rows(1000, 9))
    assert without_neighbours(one_hot(1000, 9)).shape == (1000, 10)
    detector = OnlineMMD.fit(one_hot(400, 9), window=20, expected_run_length=500, seed=0)
    scores = detector.update(one_hot(1000, 10))
    assert scores.repeated is not None
    assert not scores.repeated.any()
    assert scores.is_drift.mean() < 0.02
    assert detector.update(np.tile(np.eye(10)[0], (30, 1))).is_drift[-1]


def test_a_reference_with_retries_is_thinned_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    reference = retried(rows(600, 11), 0.15, 12)
    distinct = len(np.unique(reference, axis=0))
    with caplog.at_level(logging.WARNING):
        detector = OnlineMMD.fit(reference, window=20, expected_run_length=500, seed=0)
    assert len(detector.reference) == distinct < 560
    assert f"{600 - distinct} of 600 reference rows repeat one shortly before them" in caplog.text
    assert detector.report.trustworthy
    assert detector.update(retried(rows(3000, 13), 0.15, 14)).is_drift.mean() < 0.01
    # Copies anywhere, as of a sample with replacement, are no neighbours.
    resampled = rows(600, 15)[np.random.default_rng(16).integers(600, size=600)]
    assert without_neighbours(resampled).shape == resampled.shape

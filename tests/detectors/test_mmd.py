from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.detectors import OnlineMMD
from exporter.errors import ConfigError, InvalidEmbedding, InvalidReference
from tests.detectors import direct


def reference(n: int = 200, d: int = 6, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], OnlineMMD]:
    """A fresh copy of one fitted detector: windows of 5 and 20, six features."""
    path = tmp_path_factory.mktemp("detector") / "detector.npz"
    OnlineMMD.fit(reference(), window=[5, 20], expected_run_length=500, seed=0).save(path)
    return lambda: OnlineMMD.load(path, device="cpu")


def test_a_known_stream_gives_its_known_verdicts() -> None:
    # A linear congruential generator: the stream is the same on every machine and NumPy version.
    state, values = 12345, []
    for _ in range(400 * 3):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state / 2**31 - 0.5)
    rows = np.array(values).reshape(400, 3)
    detector = OnlineMMD.fit(rows[:200], window=10, bandwidth=0.5, expected_run_length=200, seed=0)
    stream = rows[200:].copy()
    stream[100:] += 0.3
    scores = detector.update(stream)
    golden = np.load(Path(__file__).with_name("golden_stream.npz"))
    np.testing.assert_allclose(scores.test_stat, golden["test_stat"], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(np.flatnonzero(scores.test_stat > 0.1), golden["above"])


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("d", [1, 6, 64])
def test_the_statistic_is_exact_even_far_from_the_origin(d: int, offset: float) -> None:
    x = reference(d=d) + np.float32(offset)
    stream = reference(300, d, seed=1) + np.float32(offset)
    stream[200:] += 0.5
    detector = OnlineMMD.fit(x, window=[5, 20], expected_run_length=100, seed=0)
    scores = detector.update(stream)
    found, repeated = scores.uncorrected_by_window, scores.repeated
    assert found is not None
    assert repeated is not None
    found, stream = found[~repeated], stream[~repeated]  # one in a few hundred, of one rounded dimension
    for column, window in enumerate((5, 20)):
        expected = direct.statistics(x, stream, window, detector.bandwidth)
        scale = np.nanstd(expected[:200])
        np.testing.assert_array_equal(np.isnan(found[:, column]), np.isnan(expected))
        assert np.nanmax(np.abs(found[:, column] - expected)) < 1e-5 * scale


def test_a_stream_far_from_the_reference_is_still_exact() -> None:
    x, stream = reference(), reference(60, seed=1) + np.float32(3000.0)
    detector = OnlineMMD.fit(x, window=20, expected_run_length=100, seed=0)
    expected = direct.statistics(x, stream, 20, detector.bandwidth)
    np.testing.assert_allclose(detector.update(stream).test_stat, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30, 1e150])
def test_the_scale_of_the_data_does_not_matter(scale: float) -> None:
    x, stream = reference().astype(np.float64), reference(60, seed=1).astype(np.float64)
    plain = OnlineMMD.fit(x, window=20, expected_run_length=100, seed=0)
    scaled = OnlineMMD.fit(x * scale, window=20, expected_run_length=100, seed=0)
    np.testing.assert_allclose(
        scaled.update(stream * scale).test_stat, plain.update(stream).test_stat, rtol=0, atol=1e-7
    )
    np.testing.assert_allclose(scaled.thresholds, plain.thresholds, rtol=1e-3)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 150), max_size=12), seed=st.integers(0, 100))
def test_verdicts_do_not_depend_on_how_the_stream_is_cut(
    fitted: Callable[[], OnlineMMD], cuts: list[int], seed: int
) -> None:
    stream = reference(150, seed=seed)
    stream[70] = np.nan
    stream[100:] += 1.0
    whole, parts = fitted(), fitted()
    expected = whole.update(stream)
    found = [parts.update(piece) for piece in np.split(stream, sorted(cuts))]
    stats = np.concatenate([s.test_stat_by_window for s in found])
    np.testing.assert_allclose(stats, expected.test_stat_by_window, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(np.concatenate([s.refused for s in found]), expected.refused)
    assert whole.n_seen == parts.n_seen == 149


def test_single_observations_give_what_the_batch_gives(fitted: Callable[[], OnlineMMD]) -> None:
    stream = reference(600, seed=3)
    expected = fitted().update(stream).test_stat_by_window
    detector = fitted()
    found = np.concatenate([detector.update(row).test_stat_by_window for row in stream])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_numpy_and_torch_agree(fitted: Callable[[], OnlineMMD], tmp_path: Path) -> None:
    fitted().save(tmp_path / "d.npz")
    on_torch = OnlineMMD.load(tmp_path / "d.npz", device="torch:cpu")
    stream = reference(100, seed=4)
    stream[50] = np.inf
    expected = fitted().update(stream)
    found = on_torch.update(torch.as_tensor(stream))
    np.testing.assert_allclose(found.test_stat_by_window, expected.test_stat_by_window, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(found.refused, expected.refused)
    again = OnlineMMD.load(tmp_path / "d.npz", device="torch:cpu").update(stream)
    np.testing.assert_array_equal(again.test_stat, found.test_stat)
    assert (
        on_torch.evidence().dimensions.tolist() == fitted_after(fitted, stream).evidence().dimensions.tolist()
    )


def fitted_after(fitted: Callable[[], OnlineMMD], stream: NDArray[np.float32]) -> OnlineMMD:
    detector = fitted()
    detector.update(stream)
    return detector


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "bool"])
def test_other_dtypes_are_taken(fitted: Callable[[], OnlineMMD], dtype: str) -> None:
    stream = (reference(40, seed=5) > 0).astype(dtype)
    expected = fitted().update(stream.astype(np.float64)).test_stat
    np.testing.assert_array_equal(fitted().update(stream).test_stat, expected)


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_bfloat16_with_gradients_is_taken(
    fitted: Callable[[], OnlineMMD], tmp_path: Path, device: str
) -> None:
    fitted().save(tmp_path / "d.npz")
    detector = OnlineMMD.load(tmp_path / "d.npz", device=device)
    stream = torch.ones(6, dtype=torch.bfloat16, requires_grad=True)
    assert detector.update(stream).test_stat.shape == (1,)


def test_rows_with_nan_leave_no_trace(fitted: Callable[[], OnlineMMD]) -> None:
    clean = reference(100, seed=6)
    bad = np.insert(clean, [10, 10, 50], np.nan, axis=0)
    bad[10, :3] = 0.0
    bad[11] = np.inf
    scores = fitted().update(bad)
    assert np.flatnonzero(scores.refused).tolist() == [10, 11, 52]
    assert np.isnan(scores.test_stat[scores.refused]).all()
    assert not scores.is_drift[scores.refused].any()
    np.testing.assert_allclose(
        scores.test_stat_by_window[~scores.refused],
        fitted().update(clean).test_stat_by_window,
        rtol=0,
        atol=1e-7,
    )


def test_a_batch_of_nothing_but_nan_changes_nothing(fitted: Callable[[], OnlineMMD]) -> None:
    detector = fitted()
    scores = detector.update(np.full((3, 6), np.nan))
    assert scores.refused.all()
    assert detector.n_seen == 0
    assert detector.update(np.empty((0, 6))).test_stat.shape == (0,)


def test_huge_but_finite_rows_are_drift_not_trouble(fitted: Callable[[], OnlineMMD]) -> None:
    scores = fitted().update(np.full((40, 6), 1e300) * np.linspace(0.5, 1.0, 40)[:, None])
    assert not scores.refused.any()
    assert scores.is_drift[5:].all()


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, 5)),
        np.zeros(7),
        np.zeros((2, 6, 1)),
        np.array(["a"] * 6),
        np.zeros((2, 6), dtype=complex),
        np.array([None] * 6),
        np.float64(1.0),
        [[1.0, 2.0], [1.0]],
        torch.zeros((2, 5)),
    ],
    ids=["short", "long", "3-d", "text", "complex", "objects", "number", "ragged", "torch"],
)
@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_what_is_no_embedding_is_an_error_and_changes_nothing(
    fitted: Callable[[], OnlineMMD], tmp_path: Path, batch: object, device: str
) -> None:
    fitted().save(tmp_path / "d.npz")
    detector = OnlineMMD.load(tmp_path / "d.npz", device=device)
    stream = reference(30, seed=7)
    detector.update(stream[:10])
    with pytest.raises(InvalidEmbedding, match="embedding"):
        detector.update(batch)
    rest = detector.update(stream[10:]).test_stat_by_window
    np.testing.assert_allclose(rest, fitted().update(stream).test_stat_by_window[10:], rtol=0, atol=1e-7)


def test_several_windows_share_one_threshold_of_ratios(fitted: Callable[[], OnlineMMD]) -> None:
    detector = fitted()
    scores = detector.update(reference(60, seed=8) + 0.7)
    assert scores.threshold == 1.0
    assert scores.windows == (5, 20)
    assert np.isnan(scores.test_stat[:4]).all()
    assert np.isnan(scores.test_stat_by_window[:19, 1]).all()
    ratios = scores.test_stat_by_window / scores.threshold_by_window
    np.testing.assert_array_equal(scores.test_stat[4:19], ratios[4:19, 0])
    np.testing.assert_array_equal(scores.test_stat[19:], ratios[19:].max(axis=1))
    np.testing.assert_array_equal(scores.is_drift, scores.test_stat > 1.0)


def test_reset_empties_the_window_and_keeps_the_thresholds(fitted: Callable[[], OnlineMMD]) -> None:
    detector, stream = fitted(), reference(50, seed=9)
    expected = detector.update(stream).test_stat
    detector.reset()
    np.testing.assert_array_equal(detector.update(stream).test_stat, expected)


def test_evidence_names_the_dimension_that_moved_and_the_odd_observation() -> None:
    x = reference(400) * np.array([1, 1, 10, 1, 1, 0.01], dtype=np.float32)
    stream = x[:30] + np.array([0, 0, 0, 0, 0, 0.03], dtype=np.float32)
    stream[29, 2] = 500.0
    detector = OnlineMMD.fit(x[100:], window=[5, 20], expected_run_length=100, seed=0)
    assert detector.evidence().witness.size == 0
    detector.update(stream[:29])
    evidence = detector.evidence()
    assert evidence.dimensions[0] == 5
    assert evidence.shifts[0] == pytest.approx(3.0, abs=0.6)
    assert (np.diff(np.abs(evidence.shifts)) <= 0).all()
    detector.update(stream[29])
    assert detector.evidence(5).witness.shape == (5,)
    assert detector.evidence().witness.argmin() == 19
    assert detector.evidence().witness[19] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ConfigError, match="window"):
        detector.evidence(7)


def test_a_constant_feature_is_no_trouble() -> None:
    x = reference()
    x[:, 2] = 7.0
    detector = OnlineMMD.fit(x, window=20, expected_run_length=100, seed=0)
    moved = x[:40].copy()
    moved[:, 2] = 8.0
    detector.update(moved)
    assert detector.evidence().dimensions[0] == 2
    assert np.isfinite(detector.evidence().shifts).all()


def test_memory_stays_flat(fitted: Callable[[], OnlineMMD]) -> None:
    detector = fitted()
    batch = reference(1024, seed=10)
    tracemalloc.start()
    for _ in range(24):  # what is learned of the stream grows for so long
        detector.update(batch)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        detector.update(batch[:-1])
        detector.update(batch[-1])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 50_000


@pytest.mark.parametrize("d", [1, 4096])
def test_any_number_of_features(d: int) -> None:
    detector = OnlineMMD.fit(reference(100, d), window=10, expected_run_length=100, seed=0)
    scores = detector.update(reference(40, d, seed=1))
    assert not scores.is_drift.all()
    assert detector.update(reference(20, d, seed=1) + 2).is_drift[-1]
    assert detector.n_features == d


def test_a_reference_too_large_is_subsampled_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnlineMMD, "max_kernel_bytes", 6 * 100**2)
    detector = OnlineMMD.fit(reference(), window=10, expected_run_length=100, seed=0)
    assert "the reference has 200 rows" in detector.report.warnings[0]
    assert "100 rows, drawn at random, are used" in detector.report.warnings[0]
    with pytest.raises(InvalidReference, match="give a shorter window"):
        OnlineMMD.fit(reference(), window=30, expected_run_length=100, seed=0)


def test_the_same_seed_gives_the_same_thresholds() -> None:
    first, second, other = (
        OnlineMMD.fit(reference(), window=10, expected_run_length=1000, seed=seed).threshold
        for seed in (1, 1, 2)
    )
    assert first == second != other
    assert first == pytest.approx(other, rel=0.05)


@pytest.mark.parametrize(
    "arguments",
    [
        {"window": 1},
        {"window": 10.5},
        {"window": []},
        {"window": [10, 10]},
        {"window": True},
        {"expected_run_length": 5},
        {"expected_run_length": float("inf")},
        {"bandwidth": 0},
        {"bandwidth": float("nan")},
        {"device": "cuda:99"},
        {"device": "nowhere"},
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        OnlineMMD.fit(reference(), **({"window": 10, "expected_run_length": 100} | arguments))


def test_importing_the_detectors_is_cheap() -> None:
    code = "import sys, exporter.detectors; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

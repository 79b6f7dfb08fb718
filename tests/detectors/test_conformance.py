"""What every online detector owes the pipeline, whatever its method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from exporter.detectors import Detector, Evidence, OnlineMMD, Scores
from exporter.errors import InvalidEmbedding

D = 4


def rows(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)) + shift


def one_window() -> Detector:
    return OnlineMMD.fit(rows(200, 0), window=15, expected_run_length=1000, seed=0)


def three_windows() -> Detector:
    return OnlineMMD.fit(rows(200, 0), window=[5, 10, 20], expected_run_length=1000, seed=0)


def on_torch() -> Detector:
    return OnlineMMD.fit(rows(200, 0), window=15, expected_run_length=1000, seed=0, device="torch:cpu")


DETECTORS = [one_window, three_windows, on_torch]


@pytest.fixture(params=DETECTORS, ids=lambda make: make.__name__, scope="module")
def shared(request: pytest.FixtureRequest) -> Detector:
    make: Callable[[], Detector] = request.param
    return make()


@pytest.fixture
def detector(shared: Detector) -> Detector:
    shared.reset()
    return shared


def test_it_is_a_detector(detector: Detector) -> None:
    assert isinstance(detector, Detector)
    assert detector.n_features == D
    assert list(detector.windows) == sorted(set(detector.windows))
    assert detector.expected_run_length == 1000


def test_scores_have_their_shapes_and_types(detector: Detector) -> None:
    k = len(detector.windows)
    for batch, b in ((rows(30, 1), 30), (rows(1, 1)[0], 1), (np.empty((0, D)), 0)):
        scores = detector.update(batch)
        assert isinstance(scores, Scores)
        assert (scores.test_stat.shape, scores.test_stat.dtype) == ((b,), np.float64)
        assert (scores.is_drift.shape, scores.is_drift.dtype) == ((b,), np.bool_)
        assert (scores.refused.shape, scores.refused.dtype) == ((b,), np.bool_)
        assert (scores.test_stat_by_window.shape, scores.threshold_by_window.shape) == ((b, k), (k,))
        assert scores.windows == detector.windows


def test_a_verdict_is_the_statistic_above_the_threshold(detector: Detector) -> None:
    scores = detector.update(np.concatenate([rows(50, 2), rows(50, 3, 2.0)]))
    np.testing.assert_array_equal(scores.is_drift, scores.test_stat > scores.threshold)
    assert np.isnan(scores.test_stat[: detector.windows[0] - 1]).all()
    assert np.isfinite(scores.test_stat[detector.windows[0] - 1 :]).all()


def test_drift_is_seen_and_none_is_not(detector: Detector) -> None:
    assert not detector.update(rows(100, 4)).is_drift.any()
    assert detector.update(rows(30, 5, 2.0)).is_drift[-1]


def test_the_cut_of_the_stream_does_not_matter(detector: Detector) -> None:
    stream = rows(120, 6)
    whole = detector.update(stream)
    detector.reset()
    parts = [detector.update(part).test_stat for part in np.split(stream, [1, 2, 40, 41, 100])]
    np.testing.assert_allclose(np.concatenate(parts), whole.test_stat, rtol=0, atol=1e-6)


def test_a_refused_row_leaves_no_trace(detector: Detector) -> None:
    stream = rows(60, 7)
    expected = detector.update(stream).test_stat
    detector.reset()
    scores = detector.update(np.insert(stream, 30, np.nan, axis=0))
    assert np.flatnonzero(scores.refused).tolist() == [30]
    assert np.isnan(scores.test_stat[30])
    np.testing.assert_allclose(np.delete(scores.test_stat, 30), expected, rtol=0, atol=1e-6)


def test_a_wrong_length_is_an_error_without_effect(detector: Detector) -> None:
    stream = rows(60, 8)
    expected = detector.update(stream).test_stat
    detector.reset()
    detector.update(stream[:30])
    with pytest.raises(InvalidEmbedding, match=str(D)):
        detector.update(np.zeros((3, D + 1)))
    np.testing.assert_allclose(detector.update(stream[30:]).test_stat, expected[30:], rtol=0, atol=1e-6)


def test_the_batch_is_left_as_it_was(detector: Detector) -> None:
    stream = rows(30, 9)
    before = stream.copy()
    detector.update(stream)
    np.testing.assert_array_equal(stream, before)


def test_later_batches_do_not_change_earlier_scores(detector: Detector) -> None:
    scores = detector.update(rows(40, 10))
    before = scores.test_stat.copy()
    detector.update(rows(40, 11, 5.0))
    np.testing.assert_array_equal(scores.test_stat, before)


def test_evidence_is_about_the_window(detector: Detector) -> None:
    moved = rows(40, 12)
    moved[:, 2] += 3.0
    detector.update(moved)
    for window in (None, *detector.windows):
        evidence = detector.evidence(window)
        assert isinstance(evidence, Evidence)
        assert evidence.dimensions[0] == 2
        assert evidence.shifts[0] > 1.0
        assert evidence.witness.shape == (window or detector.windows[-1],)
        assert ((evidence.witness >= 0) & (evidence.witness <= 1)).all()

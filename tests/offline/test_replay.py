"""Replaying recorded streams: the same verdicts as live, in episodes."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.detectors import OnlineMMD
from exporter.drift.window_metrics import Episode
from exporter.errors import InvalidEmbedding
from exporter.offline.replay import replay


@pytest.fixture(scope="module")
def detector() -> OnlineMMD:
    reference = np.random.default_rng(0).normal(size=(200, 3))
    return OnlineMMD.fit(reference, window=(5, 20), expected_run_length=300, seed=0)


def stream() -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(9000, 3))
    for start in (500, 2000, 4090, 8970):  # across a batch's end, and up to the stream's
        x[start : start + 40, 1] += 4.0
    x[[3, 510, 4100]] = np.inf
    return x


def test_verdicts_are_those_of_the_detector(detector: OnlineMMD) -> None:
    x = stream()
    detector.reset()
    scores = detector.update(x)
    result = replay(detector, x)
    np.testing.assert_allclose(result.test_stat, scores.test_stat_by_window, atol=1e-6)
    assert np.array_equal(result.refused, scores.refused)
    assert result.is_drift
    assert detector.n_seen == 0


def test_episodes_are_those_of_the_running_service(detector: OnlineMMD) -> None:
    result = replay(detector, stream())
    for column, window in enumerate(detector.windows):
        live, onsets, ends = Episode(window), [], []
        for row, ratio in enumerate(result.ratio[:, column]):
            if np.isnan(ratio):
                continue
            was = live.active
            if live.step(float(ratio), 1.0):
                onsets.append(row)
            if was and not live.active:
                ends.append(row)
        mine = [episode for episode in result.episodes if episode.window == window]
        assert [episode.first_row for episode in mine] == onsets
        assert sum(episode.ended for episode in mine) == len(ends)
        assert len(onsets) > 4
        assert not mine[-1].ended
        for episode in mine:
            ratio = result.ratio[episode.first_row : episode.last_row + 1, column]
            assert episode.peak_ratio == np.nanmax(ratio)
            assert episode.alarms == np.count_nonzero(ratio > 1.0)
            assert result.ratio[episode.peak_row, column] == episode.peak_ratio
    assert [e.first_row for e in result.episodes] == sorted(e.first_row for e in result.episodes)


def test_an_episode_says_what_had_moved_at_its_onset(detector: OnlineMMD) -> None:
    x = stream()
    loudest = max(replay(detector, x).episodes, key=lambda episode: episode.peak_ratio)
    assert loudest.moved_dimensions[0][0] == 1
    detector.reset()
    detector.update(x[: loudest.first_row + 1])
    evidence = detector.evidence(loudest.window)
    assert loudest.moved_dimensions[0] == pytest.approx((1, evidence.shifts[0]))


def test_progress_ends_at_one(detector: OnlineMMD) -> None:
    shares: list[float] = []
    replay(detector, stream(), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_stream_of_another_length_is_refused(detector: OnlineMMD) -> None:
    with pytest.raises(InvalidEmbedding, match="embeddings of length 3"):
        replay(detector, np.zeros((10, 4)))

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.detectors import OnlineMMD
from exporter.detectors.mmd import calibration
from exporter.detectors.mmd.calibration import calibrate
from exporter.errors import ConfigError, InvalidReference
from tests.detectors import direct

Draw = Callable[[np.random.Generator, int], NDArray[np.floating]]


def gaussian(rng: np.random.Generator, n: int) -> NDArray[np.floating]:
    return rng.standard_normal((n, 16), dtype=np.float32)


def skewed(rng: np.random.Generator, n: int) -> NDArray[np.floating]:
    scale = np.exp(0.5 * rng.standard_normal((n, 1), dtype=np.float32))
    return rng.standard_exponential((n, 16), dtype=np.float32) * scale


def clusters(rng: np.random.Generator, n: int) -> NDArray[np.floating]:
    centres = 3.0 * np.random.default_rng(10).standard_normal((10, 16), dtype=np.float32)
    return centres[rng.integers(10, size=n)] + rng.standard_normal((n, 16), dtype=np.float32)


def mean_run_length(detector: OnlineMMD, draw: Draw, rng: np.random.Generator, total: int) -> float:
    """Tests made over false alarms seen; the window is taken as emptied after each alarm."""
    drift = np.concatenate([detector.update(draw(rng, 2000)).is_drift for _ in range(total // 2000)])
    full = detector.windows[-1]
    return clustered(drift[full - 1 :], full)


def clustered(drift: NDArray[np.bool_], full: int) -> float:
    """The same of the verdicts on full windows."""
    above = np.flatnonzero(drift)
    tests = alarms = start = 0
    while (at := np.searchsorted(above, start)) < above.size:
        tests += int(above[at]) - start + 1
        alarms += 1
        start = int(above[at]) + full
    return (tests + max(0, drift.size - start)) / max(1, alarms)


@pytest.mark.parametrize("draw", [gaussian, skewed, clusters])
def test_false_alarms_are_as_rare_as_asked(draw: Draw) -> None:
    """About 300 alarms for each population: 6 % standard error, besides that of 500 reference rows."""
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng([seed, 5])
        detector = OnlineMMD.fit(draw(rng, 500), window=20, expected_run_length=300, seed=seed)
        ratios.append(mean_run_length(detector, draw, rng, 30_000) / 300)
    assert 0.75 < float(np.exp(np.mean(np.log(ratios)))) < 1.3
    assert 0.5 < min(ratios) < max(ratios) < 2.0


def autoregressive(rng: np.random.Generator, n: int) -> NDArray[np.floating]:
    """Neighbours that correlate by 0.7, each dimension for itself."""
    rows = rng.standard_normal((n, 8), dtype=np.float32)
    rows[1:] *= np.float32(np.sqrt(1.0 - 0.7**2))
    for i in range(1, n):
        rows[i] += np.float32(0.7) * rows[i - 1]
    return rows


def test_stretches_of_a_dependent_stream_keep_its_false_alarms_rare() -> None:
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng([seed, 15])
        reference = np.concatenate([autoregressive(rng, 50) for _ in range(20)])
        stream = autoregressive(rng, 20_000)
        detector = OnlineMMD.fit(reference, window=20, expected_run_length=300, seed=seed, block=50)
        rest = iter(np.split(stream, 10))
        ratios.append(mean_run_length(detector, lambda rng, n, rest=rest: next(rest), rng, 20_000) / 300)
        # The negative control: rows taken for independent, and nothing learned of the stream.
        careless = OnlineMMD.fit(reference, window=20, expected_run_length=300, seed=seed)
        found = careless.update(stream[:2000]).uncorrected_by_window
        assert found is not None
        assert (found[19:] > careless.threshold).mean() > 0.3
    assert 0.4 < float(np.exp(np.mean(np.log(ratios)))) < 2.0


def test_a_daily_cycle_that_was_learned_in_stretches_is_normal() -> None:
    """20 stretches of 50 rows over a day, half a standard deviation of cycle in every dimension."""
    rng = np.random.default_rng(16)
    level = 0.5 * np.sin(2 * np.pi * (np.arange(20) + rng.uniform()) / 20).astype(np.float32)
    reference = (gaussian(rng, 1000).reshape(20, 50, 16) + level[:, None, None]).reshape(1000, 16)
    hours = [gaussian(rng, 200) + np.float32(0.5 * np.sin(2 * np.pi * hour / 24)) for hour in range(24)]
    alarms = {}
    for block in (50, 1):
        detector = OnlineMMD.fit(reference, window=25, expected_run_length=10_000, seed=0, block=block)
        alarms[block] = sum(bool(detector.update(hour).is_drift.any()) for hour in hours)
    assert alarms[50] <= 1
    assert alarms[1] > 12  # the negative control


@pytest.mark.parametrize(
    ("rows", "block", "message"),
    [
        (400, 0, "block: 0; give a whole number of at least 1"),
        (400, 30, "reference: 400 rows are no whole number of blocks of 30; give 390 rows"),
        (400, 100, "reference: 400 rows are 4 blocks of 100; at least 5 are needed"),
    ],
)
def test_blocks_that_cannot_be_are_refused(rows: int, block: int, message: str) -> None:
    x = gaussian(np.random.default_rng(17), rows)
    with pytest.raises((ConfigError, InvalidReference), match=message):
        OnlineMMD.fit(x, window=20, block=block)


def test_few_stretches_are_said_to_be_few_and_are_kept(tmp_path: Path) -> None:
    x = gaussian(np.random.default_rng(18), 400)
    detector = OnlineMMD.fit(x, window=20, block=40, seed=0)
    assert "only 10 stretches of 40 rows" in detector.report.warnings[0]
    detector.save(tmp_path / "one.npz")
    assert OnlineMMD.load(tmp_path / "one.npz").block == 40


def test_stretches_stay_whole_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnlineMMD, "max_kernel_bytes", 6 * 210**2)
    x = np.arange(400.0)[:, None] + np.zeros((1, 2))
    kept = OnlineMMD.fit(x, window=10, block=20, seed=0).reference[:, 0].reshape(10, 20)
    assert (np.diff(kept, axis=1) == 1.0).all()
    assert (kept[:, 0] % 20 == 0).all()


def test_several_windows_together_alarm_as_rarely_as_asked() -> None:
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng([seed, 6])
        detector = OnlineMMD.fit(gaussian(rng, 500), window=[5, 15, 40], expected_run_length=300, seed=seed)
        ratios.append(mean_run_length(detector, gaussian, rng, 30_000) / 300)
    assert 0.75 < float(np.mean(ratios)) < 1.3


def test_a_threshold_that_is_too_low_would_be_noticed() -> None:
    """The negative control of the tests above."""
    rng = np.random.default_rng(7)
    detector = OnlineMMD.fit(gaussian(rng, 500), window=20, expected_run_length=100, seed=0)
    assert mean_run_length(detector, gaussian, rng, 30_000) / 300 < 0.6


def test_drift_is_seen_within_a_window() -> None:
    rng = np.random.default_rng(8)
    delays = []
    detector = OnlineMMD.fit(gaussian(rng, 500), window=20, expected_run_length=10_000, seed=0)
    for _ in range(30):
        detector.reset()
        detector.update(gaussian(rng, 40))
        drift = detector.update(gaussian(rng, 100) + np.float32(0.5)).is_drift
        delays.append(int(np.argmax(drift)) + 1 if drift.any() else 101)
    assert np.mean(delays) < 20


def test_thresholds_rise_with_the_run_length() -> None:
    x = gaussian(np.random.default_rng(9), 300)
    k = direct.kernel(x, x, 4.0).astype(np.float32)
    thresholds = [
        calibrate(k, (10,), length, np.random.default_rng(0))[0][0] for length in (30, 300, 3000, 3e5, 3e7)
    ]
    assert (np.diff(thresholds) > 0).all()


def test_the_report_says_how_far_to_believe_the_threshold() -> None:
    x = gaussian(np.random.default_rng(10), 400)
    near = OnlineMMD.fit(x, window=10, expected_run_length=300, seed=0).report
    assert near.trustworthy
    assert not near.extrapolated
    assert (near.runs >= 2000, near.run_length) == (True, 50)
    assert 1.0 <= near.spread < 1.5
    far = OnlineMMD.fit(x, window=10, expected_run_length=1e7, seed=0).report
    assert far.extrapolated


def test_a_reference_that_says_little_about_rare_windows_is_said_so() -> None:
    """Twenty odd rows in 200 decide everything, and a stream may well have a quarter more of them."""
    rng = np.random.default_rng(11)
    x = 0.1 * rng.standard_normal((200, 4))
    x[::10] += 5.0
    detector = OnlineMMD.fit(x, window=10, expected_run_length=1e6, seed=0)
    assert not detector.report.trustworthy
    assert "more reference rows narrow this, or confidence: 0.9" in detector.report.warnings[-1]
    sure = OnlineMMD.fit(x, window=10, expected_run_length=1e6, seed=0, confidence=0.9)
    assert not any("may differ" in warning for warning in sure.report.warnings)  # it is allowed for


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer runs than would be worth having."""
    monkeypatch.setattr(calibration, "_GATHERS", 8_000_000)


@pytest.mark.usefixtures("_quick")
def test_run_lengths_differ_over_references_as_the_report_says_and_reach_the_confidence() -> None:
    """24 references of 100 rows for a window of 20, 200 alarms for each."""
    lengths: dict[float, list[float]] = {0.5: [], 0.9: []}
    spreads = []
    for seed in range(24):
        rng = np.random.default_rng([seed, 19])
        x, stream = gaussian(rng, 100), gaussian(rng, 20_000)
        made = {
            c: OnlineMMD.fit(x, window=20, expected_run_length=100, seed=seed, confidence=c) for c in lengths
        }
        statistics = made[0.5].update(stream).test_stat[19:]
        spreads.append(made[0.5].report.spread)
        for confidence, detector in made.items():
            lengths[confidence].append(clustered(statistics > detector.threshold, 20) / 100)
    assert 0.7 < float(np.std(np.log(lengths[0.5])) / np.mean(np.log(spreads))) < 1.4
    reached = {confidence: np.mean(np.array(found) >= 1.0) for confidence, found in lengths.items()}
    assert reached[0.5] < 0.8 < reached[0.9]


@pytest.mark.usefixtures("_quick")
def test_a_confidence_asks_for_a_longer_run_length(tmp_path: Path) -> None:
    x = gaussian(np.random.default_rng(20), 100)
    found = [OnlineMMD.fit(x, window=20, seed=0, confidence=c) for c in (0.5, 0.9, 0.99)]
    lengths = [detector.report.calibrated_run_length or 0.0 for detector in found]
    assert lengths[0] == 10_000
    assert 11_000 < lengths[1] < lengths[2]
    assert found[0].threshold < found[1].threshold < found[2].threshold
    found[1].save(tmp_path / "sure.npz")
    kept = OnlineMMD.load(tmp_path / "sure.npz")
    assert (kept.confidence, kept.expected_run_length, kept.report) == (0.9, 10_000, found[1].report)


@pytest.mark.parametrize("confidence", [0.3, 1.0, float("nan")])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(
        ConfigError, match=r"confidence: .*; give a share of references from 0.5 to below 1, such as 0.9"
    ):
        OnlineMMD.fit(gaussian(np.random.default_rng(21), 100), window=20, confidence=confidence)


@pytest.mark.parametrize("distinct", [10, 25])
def test_few_distinct_rows_that_repeat_in_any_order_are_their_nature(distinct: int) -> None:
    rng = np.random.default_rng(12)
    x = rng.normal(size=(distinct, 3))[rng.integers(distinct, size=300)]
    x[:distinct] = np.unique(x, axis=0)[np.arange(distinct) % np.unique(x, axis=0).shape[0]]
    if np.unique(x, axis=0).shape[0] < 10:
        x[:10] = rng.normal(size=(10, 3))
    detector = OnlineMMD.fit(x, window=15, expected_run_length=500, seed=0)
    assert not any("repeat" in text for text in detector.report.warnings)
    assert not detector.update(x[:60]).is_drift.any()
    assert detector.update(x[:40] + 3.0).is_drift.any()


def test_near_duplicates_and_a_far_outlier_are_no_trouble() -> None:
    rng = np.random.default_rng(13)
    x = np.repeat(rng.normal(size=(100, 3)), 2, axis=0) + 1e-9 * rng.normal(size=(200, 3))
    x[0] = 1e6
    detector = OnlineMMD.fit(x, window=15, expected_run_length=500, seed=0)
    assert 0.0 < detector.threshold < 1.0
    assert detector.update(rng.normal(size=(40, 3)) + 3.0).is_drift.any()


def test_the_smallest_reference_works_and_warns_where_it_should() -> None:
    x = gaussian(np.random.default_rng(14), 80)
    detector = OnlineMMD.fit(x, window=20, expected_run_length=1000, seed=0)
    assert detector.report.run_length == 40
    assert 0.0 < detector.threshold < 1.0

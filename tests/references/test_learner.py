"""A reference learned from a stream: the first good rows, of the length that most of them have."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter.references.learner
from exporter.config import StretchesConfig
from exporter.errors import ConfigError, InvalidReference
from exporter.references.learner import ReferenceLearner
from exporter.references.reference import Reference

DAY = 86_400.0
PLAN = StretchesConfig(rows=200, over=DAY, stretch=20, provisional=60)


def rows(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_a_reference_is_learned_from_the_first_good_rows() -> None:
    learner = ReferenceLearner(40, window=10)
    x = rows(40)
    refused = [learner.add(row) for row in np.insert(x, [0, 20, 30], [[np.nan], [np.inf], [np.nan]], axis=0)]
    assert refused.count("not_finite") == 3
    assert (learner.length, learner.due, learner.ratio) == (3, "learned", 1.0)
    np.testing.assert_array_equal(learner.reference().rows, x)


def test_a_row_that_is_no_vector_is_refused() -> None:
    learner = ReferenceLearner(40, window=10)
    for odd in (np.array(1.0), np.zeros(0), np.zeros((1, 3))):
        assert learner.add(odd) == "wrong_shape"
    assert learner.length is None


def test_rows_of_another_length_do_not_spoil_the_learning() -> None:
    learner = ReferenceLearner(40, window=10)
    for row in rows(5):
        learner.add(row)
    assert [learner.add(row) for row in rows(4, 4)] == ["wrong_shape"] * 4
    assert (learner.length, learner.due, learner.ratio) == (3, None, 5 / 40)


def test_the_first_row_does_not_decide_on_the_length() -> None:
    learner = ReferenceLearner(40, window=10)
    learner.add(np.zeros(3))
    x = rows(40, 8)
    for row in x:
        learner.add(row)
    np.testing.assert_array_equal(learner.reference().rows, x)


def test_learning_begins_anew_where_the_stream_does() -> None:
    learner = ReferenceLearner(40, window=10)
    for row in rows(30, 3):
        learner.add(row)
    refused = [learner.add(row) for row in rows(69, 8)]
    assert refused == ["wrong_shape"] * 29 + [None] * 40
    assert learner.reference().rows.shape == (40, 8)


@settings(max_examples=200)
@given(st.lists(st.sampled_from([2, 3, 5]), min_size=400, max_size=400), st.randoms(use_true_random=False))
def test_what_most_rows_have_is_what_is_learned(odd: list[int], shuffle: Random) -> None:
    """A strict majority wins, whatever else comes and in which order."""
    lengths = [8] * 500 + odd
    shuffle.shuffle(lengths)
    learner = ReferenceLearner(10_000, window=10)
    for n, length in enumerate(lengths):
        learner.add(np.full(length, float(n)))
    assert learner.length == 8


def test_a_learned_reference_obeys_the_rules() -> None:
    with pytest.raises(ConfigError, match="learn: 39; a window of 10 needs at least 40"):
        ReferenceLearner(39, window=10)
    learner = ReferenceLearner(40, window=10)
    with pytest.raises(InvalidReference, match="too few embeddings have arrived"):
        learner.reference()
    for _ in range(40):
        learner.add(np.ones(3))
    with pytest.raises(InvalidReference, match="constant"):
        learner.reference()


def learn(
    learner: ReferenceLearner, step: float, n: int, start: float = 0.0
) -> list[tuple[float, Reference]]:
    """Rows that tell their time, every ``step`` seconds, until all is learned; what was due, and when."""
    due = []
    for time in start + step * np.arange(n):
        learner.add(np.array([time, 1.0]), time)
        if learner.due is not None:
            reference = learner.reference()
            due.append((time, reference))
            if reference.origin.source == "learned":
                break
            learner.no_provisional()
    return due


def test_a_provisional_reference_comes_early_and_the_lasting_one_after_the_period() -> None:
    (early, first), (late, last) = learn(ReferenceLearner(PLAN, window=10), 10.0, 10_000)
    assert (first.origin.source, first.origin.block, early) == ("provisional", 1, 590.0)
    np.testing.assert_array_equal(first.rows[:, 0], 10.0 * np.arange(60))
    assert (last.origin.source, last.origin.block, last.notes, last.origin.timestamp) == (
        "learned",
        20,
        (),
        late,
    )
    assert 0.9 * DAY <= late <= DAY
    stretches = last.rows[:, 0].reshape(10, 20)
    np.testing.assert_array_equal(np.diff(stretches, axis=1), np.full((10, 19), 10.0))
    np.testing.assert_allclose(stretches[:, 0], DAY / 10 * np.arange(10), atol=10.0)


def test_a_reference_without_a_provisional_one() -> None:
    plan = StretchesConfig(rows=200, over=DAY, stretch=20, provisional=0)
    assert [
        reference.origin.source for _, reference in learn(ReferenceLearner(plan, window=10), 10.0, 10_000)
    ] == ["learned"]


def test_thin_traffic_gives_what_there_is_when_the_period_is_over() -> None:
    """One in ten minutes: 144 a day, of which whole blocks are taken; with a word."""
    (_, first), (late, last) = learn(ReferenceLearner(PLAN, window=10), 600.0, 1000)
    assert first.origin.source == "provisional"
    assert (late, last.rows.shape, last.origin.block) == (DAY, (140, 2), 20)
    assert "145 of 200 embeddings came" in last.notes[0]


def test_very_thin_traffic_is_waited_for() -> None:
    """One an hour: half of the rows, and the provisional ones, take longer than the period."""
    plan = StretchesConfig(rows=200, over=DAY, stretch=20, provisional=60)
    (early, _), (late, last) = learn(ReferenceLearner(plan, window=10), 3600.0, 1000)
    assert (early, late) == (59 * 3600.0, 99 * 3600.0)
    assert last.rows.shape == (100, 2)


def test_what_a_quiet_night_left_out_is_not_made_up_for() -> None:
    learner = ReferenceLearner(PLAN, window=10)
    assert [due.origin.source for _, due in learn(learner, 10.0, 4320)] == ["provisional"]  # until noon
    ((late, last),) = learn(learner, 10.0, 10_000, start=DAY * 0.9)  # and from 21:36 on
    assert late == pytest.approx(DAY, abs=10.0)
    assert last.rows.shape == (120, 2)
    times = last.rows[:, 0]
    assert np.count_nonzero(times < DAY / 2) == 100
    assert np.count_nonzero(times >= DAY * 0.9) == 20


@pytest.mark.parametrize("jump", [365 * DAY, -365 * DAY, DAY * 0.6])
def test_a_clock_that_jumps_does_not_end_the_learning(jump: float) -> None:
    """Forward it counts as half of the period at most, back as nothing; what follows goes on as before."""
    learner = ReferenceLearner(PLAN, window=10)
    learn(learner, 10.0, 1000)
    ((late, last),) = learn(learner, 10.0, 20_000, start=10_000.0 + jump)
    rest = DAY - 10_000.0 - (DAY / 2 if jump > 0 else 0.0)
    assert late - 10_000.0 - jump == pytest.approx(rest, abs=DAY / 10)
    assert last.origin.source == "learned"


def test_observations_that_overtake_each_other_change_nothing() -> None:
    plain, mixed = ReferenceLearner(PLAN, window=10), ReferenceLearner(PLAN, window=10)
    for n in range(8000):
        plain.add(np.ones(2), 10.0 * n)
        mixed.add(np.ones(2), 10.0 * n - (0.5 if n % 2 else 0.0))
    assert plain.ratio == mixed.ratio


def test_learning_goes_on_after_a_restart() -> None:
    through, before = ReferenceLearner(PLAN, window=10), ReferenceLearner(PLAN, window=10)
    for n in range(3000):
        for learner in (through, before):
            learner.add(np.array([n, 1.0]), 10.0 * n, drifting=n > 2000)
    after = ReferenceLearner(PLAN, window=10)
    after.restore(*before.state())
    assert after.ratio == before.ratio
    assert after.due == "provisional"
    for n in range(3000, 9000):
        for learner in (through, after):
            learner.add(np.array([n, 1.0]), 10.0 * n)
    assert after.due == through.due == "learned"
    np.testing.assert_array_equal(after.reference().rows, through.reference().rows)
    assert after.reference().origin.drifting_ratio == through.reference().origin.drifting_ratio > 0


def test_a_state_whose_rows_differ_is_refused() -> None:
    learner = ReferenceLearner(PLAN, window=10)
    settings, arrays = learner.state()
    arrays |= {"learned_rows": np.zeros((3, 2)), "first_rows": np.zeros((3, 4))}
    with pytest.raises(ValueError, match="different shapes"):
        learner.restore(settings, arrays)


def test_the_share_that_came_during_a_drift_is_told() -> None:
    learner = ReferenceLearner(40, window=10)
    for n, row in enumerate(rows(40)):
        learner.add(row, drifting=n >= 30)
    assert learner.reference().origin.drifting_ratio == 0.25


def test_a_learner_that_begins_anew_needs_no_second_provisional_reference() -> None:
    learner = ReferenceLearner(PLAN, window=10)
    learner.restart(provisional=False)
    assert [reference.origin.source for _, reference in learn(learner, 10.0, 10_000)] == ["learned"]


def test_long_embeddings_make_a_shorter_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.references.learner, "MAX_BYTES", 150 * 8 * 2)
    (_, first), (_, last) = learn(ReferenceLearner(PLAN, window=10), 10.0, 10_000)
    assert (len(first.rows), len(last.rows), last.origin.block) == (60, 150, 15)
    simple = ReferenceLearner(400, window=10)
    assert [simple.add(row) for row in rows(150, 2)] == [None] * 150
    assert simple.due == "learned"
    assert ReferenceLearner(PLAN, window=10).add(np.zeros(8), 0.0) == "wrong_shape"
    assert ReferenceLearner(PLAN, window=10).due is None


def test_what_is_kept_is_no_part_of_a_batch() -> None:
    batch = rows(40)
    learner = ReferenceLearner(40, window=10)
    for row in batch:
        learner.add(row)
    batch[:] = 0.0
    assert np.abs(learner.reference().rows).min() > 0

"""A reference learned from a stream: the first good rows, of the length that most of them have."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ConfigError, InvalidReference
from exporter.references.learner import ReferenceLearner


def rows(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_a_reference_is_learned_from_the_first_good_rows() -> None:
    learner = ReferenceLearner(40, window=10)
    x = rows(40)
    refused = [learner.add(row) for row in np.insert(x, [0, 20, 30], [[np.nan], [np.inf], [np.nan]], axis=0)]
    assert refused.count("not_finite") == 3
    assert (learner.length, learner.complete) == (3, True)
    np.testing.assert_array_equal(learner.reference(), x)


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
    assert (learner.length, learner.complete) == (3, False)


def test_the_first_row_does_not_decide_on_the_length() -> None:
    learner = ReferenceLearner(40, window=10)
    learner.add(np.zeros(3))
    x = rows(40, 8)
    for row in x:
        learner.add(row)
    np.testing.assert_array_equal(learner.reference(), x)


def test_learning_begins_anew_where_the_stream_does() -> None:
    learner = ReferenceLearner(40, window=10)
    for row in rows(30, 3):
        learner.add(row)
    refused = [learner.add(row) for row in rows(69, 8)]
    assert refused == ["wrong_shape"] * 29 + [None] * 40
    assert learner.reference().shape == (40, 8)


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
    with pytest.raises(InvalidReference, match="no embedding has arrived yet"):
        learner.reference()
    for _ in range(40):
        learner.add(np.ones(3))
    with pytest.raises(InvalidReference, match="constant"):
        learner.reference()

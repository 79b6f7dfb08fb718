from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.detectors import two_sample_mmd
from exporter.errors import ConfigError, InvalidEmbedding
from tests.detectors import direct


def normal(n: int, seed: int, d: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_the_statistic_is_the_unbiased_squared_mmd() -> None:
    x, y = normal(40, 0) + 100.0, normal(25, 1) + 100.5
    result = two_sample_mmd(x, y, permutations=10, bandwidth=1.3, seed=0)
    assert result.test_stat == pytest.approx(direct.squared_mmd(x, y, 1.3), abs=1e-7)
    assert (result.permutations, result.bandwidth) == (10, 1.3)


def test_a_difference_is_seen_and_the_p_value_is_never_zero() -> None:
    result = two_sample_mmd(normal(80, 0), normal(60, 1) + 2.0, permutations=199, seed=0)
    assert result.p_value == 1 / 200


def test_without_a_difference_p_values_are_uniform() -> None:
    p = [
        two_sample_mmd(normal(30, s), normal(20, 1000 + s), permutations=99, seed=s).p_value
        for s in range(200)
    ]
    # Kolmogorov-Smirnov at 0.1 %.
    distance = np.abs(np.sort(p) - (np.arange(200) + 0.5) / 200).max()
    assert distance < 1.95 / np.sqrt(200)


def test_identical_samples_do_not_differ() -> None:
    x = normal(30, 0)
    assert two_sample_mmd(x, x, permutations=99, seed=0).p_value > 0.9


def test_constant_samples_do_not_differ() -> None:
    same = np.ones((10, 2))
    result = two_sample_mmd(same, same, permutations=50, bandwidth=1.0, seed=0)
    assert result.p_value == 1.0
    with pytest.raises(InvalidEmbedding, match="bandwidth"):
        two_sample_mmd(same, same, permutations=50, seed=0)


def test_the_same_seed_gives_the_same_answer_from_numpy_and_torch() -> None:
    x, y = normal(30, 0).astype(np.float32), normal(30, 1).astype(np.float32)
    first = two_sample_mmd(x, y, permutations=100, seed=7)
    assert two_sample_mmd(torch.as_tensor(x), torch.as_tensor(y), permutations=100, seed=7) == first


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((1, 2)), np.zeros((5, 2)), "x: shape"),
        (np.zeros(5), np.zeros((5, 2)), "x: shape"),
        (np.zeros((5, 2)), np.array([["a", "b"]] * 5), "y: shape"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "length 2 and 3"),
        (np.zeros((5, 2)), np.full((5, 2), np.nan), "y: 5 of 5 rows hold NaN"),
        (np.zeros((20_000, 1)), np.zeros((20_000, 1)), "40000 rows together need"),
    ],
)
def test_wrong_samples_are_named(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidEmbedding, match=message):
        two_sample_mmd(x, y)


@pytest.mark.parametrize("permutations", [0, -1, 2.5, True])
def test_a_wrong_number_of_permutations_is_named(permutations: int) -> None:
    with pytest.raises(ConfigError, match="permutations"):
        two_sample_mmd(normal(5, 0), normal(5, 1), permutations=permutations)

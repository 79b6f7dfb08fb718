"""Embeddings of a batch as one array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from exporter.drift.embeddings import fitting, screen, stack
from exporter.observation import Observation


@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8"), ("i8", "f4"), ("f2", "i2")])
def test_rows_become_one_array(dtypes: tuple[str, str]):
    rows = [np.arange(3, dtype=dtype) + k for k, dtype in enumerate(dtypes)]
    stacked, wanted = stack(rows), np.stack(rows)
    assert stacked.dtype == wanted.dtype
    np.testing.assert_array_equal(stacked, wanted)


@pytest.mark.parametrize("lengths", [(1, 3), (3, 2, 1), (2, 3)])
def test_rows_of_different_lengths_are_not_run_together(lengths: tuple[int, ...]):
    with pytest.raises(ValueError, match="same shape"):
        stack([np.zeros(length) for length in lengths])


def observed(*embeddings: Any) -> list[Observation]:
    return [Observation("m", "hook", embedding=embedding) for embedding in embeddings]


def test_embeddings_that_fit_are_taken_together():
    rows = [np.arange(3, dtype=np.float32), np.arange(3)]
    np.testing.assert_array_equal(fitting(observed(*rows), 3), np.stack(rows))
    np.testing.assert_array_equal(fitting(observed(*rows), None), np.stack(rows))
    assert fitting(observed(*rows), 4) is None


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros(2),
        np.zeros(0),
        np.zeros((3, 1)),
        np.float64(0.0),
        np.array(0.0),
        np.zeros(3, dtype=complex),
        np.array(["1", "2", "3"]),
        np.array([None] * 3),
        np.zeros(3, dtype="M8[s]"),
        np.ma.zeros(3),
        torch.zeros(3),
        [0.0, 0.0, 0.0],
        "abc",
    ],
    ids=repr,
)
@pytest.mark.parametrize("n_features", [3, None])
def test_one_odd_embedding_has_them_looked_at(odd: Any, n_features: int | None):
    for embeddings in ([odd, np.zeros(3)], [np.zeros(3), odd]):
        assert fitting(observed(*embeddings), n_features) is None


def test_what_fits_is_what_passes_the_screen():
    rng = np.random.default_rng(0)
    kinds = [np.zeros(3), np.ones(3, "f4"), np.zeros(2), np.zeros(3, complex), np.zeros((1, 3))]
    for _ in range(200):
        chosen = observed(*(kinds[k] for k in rng.integers(0, len(kinds), rng.integers(1, 4))))
        together = fitting(chosen, 3)
        passed = screen(chosen, 3, lambda *_: None)
        assert (together is None) == (len(passed) < len(chosen))
        if together is not None:
            np.testing.assert_array_equal(together, stack([item.embedding for item in passed]))

"""Embeddings of a batch as one array, without those that cannot be part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from exporter.drift.embeddings import stacked
from exporter.observation import Observation


def observed(*embeddings: Any) -> list[Observation]:
    return [Observation("m", "hook", embedding=embedding) for embedding in embeddings]


class Refused(list[tuple[str, int | None]]):
    def __call__(self, reason: str, length: int | None) -> None:
        self.append((reason, length))


@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8"), ("i8", "f4"), ("f2", "i2")])
@pytest.mark.parametrize("n_features", [3, None])
def test_rows_become_one_array(dtypes: tuple[str, str], n_features: int | None):
    rows = [np.arange(3, dtype=dtype) + k for k, dtype in enumerate(dtypes)]
    given, refused = observed(*rows), Refused()
    kept, found = stacked(given, n_features, refused)
    assert list(kept) == given
    assert found.dtype == np.stack(rows).dtype
    np.testing.assert_array_equal(found, np.stack(rows))
    assert refused == []


@pytest.mark.parametrize("lengths", [(1, 3), (3, 2, 1), (2, 3)])
def test_rows_of_different_lengths_are_not_run_together(lengths: tuple[int, ...]):
    refused = Refused()
    kept, found = stacked(observed(*(np.zeros(length) for length in lengths)), None, refused)
    assert (len(kept), found.shape) == (1, (1, lengths[0]))
    assert refused == [("wrong_shape", length) for length in lengths[1:]]


def test_where_none_fits_there_are_no_rows():
    refused = Refused()
    kept, found = stacked(observed(np.zeros(3), np.zeros(5)), 4, refused)
    assert (list(kept), found.shape) == ([], (0, 4))
    assert refused == [("wrong_shape", 3), ("wrong_shape", 5)]


@pytest.mark.parametrize(
    ("odd", "refusal"),
    [
        (np.zeros(2), ("wrong_shape", 2)),
        (np.zeros(0), ("wrong_shape", None)),
        (np.zeros((3, 1)), ("wrong_shape", None)),
        (np.float64(0.0), ("wrong_shape", None)),
        (np.array(0.0), ("wrong_shape", None)),
        (np.zeros(3, dtype=complex), ("wrong_type", None)),
        (torch.zeros(3, dtype=torch.complex64), ("wrong_type", None)),
        (np.array(["1", "2", "3"]), ("wrong_type", None)),
        (np.array([None] * 3), ("wrong_type", None)),
        (np.zeros(3, dtype="M8[s]"), ("wrong_type", None)),
        ([0.0, 0.0, 0.0], ("wrong_type", None)),
        ("abc", ("wrong_type", None)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_one_odd_embedding_leaves_the_others_be(odd: Any, refusal: tuple[str, int | None], before: int):
    rows = [np.full(3, 1.0), np.full(3, 2.0)]
    given, refused = observed(*rows[:before], odd, *rows[before:]), Refused()
    kept, found = stacked(given, 3, refused)
    assert [item is given[before] for item in kept] == [False, False]
    np.testing.assert_array_equal(found, rows)
    assert refused == [refusal]


@pytest.mark.parametrize(
    "row",
    [
        np.ma.masked_array([1.0, 2.0, 3.0]),
        torch.tensor([1.0, 2.0, 3.0], requires_grad=True),
        torch.tensor([1, 2, 3], dtype=torch.int16),
        torch.tensor([1, 2, 3], dtype=torch.bfloat16),
        torch.tensor([1, 2, 3], dtype=torch.float16),
    ],
    ids=lambda row: f"{type(row).__name__} of {row.dtype}",
)
def test_arrays_of_other_kinds_are_taken_to_main_memory(row: Any):
    refused = Refused()
    _, found = stacked(observed(row, np.zeros(3)), 3, refused)
    np.testing.assert_array_equal(found, [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert refused == []

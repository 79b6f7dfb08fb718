"""Embeddings of a batch as one array."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.drift.embeddings import stack


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

"""What raw values are worth."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exporter.decoders.values import as_vector, clean

ODD = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
NUMBERS = st.one_of(
    st.floats(width=32), st.integers(-(2**70), 2**70), st.just(10**400), st.just(float("nan"))
)


def as_numpy_has_it(values: list[Any]) -> np.ndarray | None:
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    return array if array.ndim == 1 and array.size else None


@given(st.lists(st.one_of(NUMBERS, ODD), max_size=6) | st.lists(NUMBERS, max_size=6))
def test_a_list_becomes_what_numpy_makes_of_it(values: list[Any]):
    wanted, got = as_numpy_has_it(values), as_vector(values)
    if wanted is None:
        assert got is None
    else:
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wanted)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=70))
def test_numbers_are_rounded_once(values: list[float]):
    np.testing.assert_array_equal(as_vector(values), np.array(values, dtype=np.float64).astype(np.float32))


def test_a_vector_is_its_own_and_can_be_written_to():
    vector = as_vector([1.0, 2.0])
    assert vector.flags.owndata
    assert vector.flags.writeable


def test_a_number_too_large_is_infinite_and_not_an_error():
    assert as_vector([1e300, 1.0]).tolist() == [np.inf, 1.0]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("confidence", 0.5, 0.5),
        ("confidence", 1, 1.0),
        ("confidence", "0.25", 0.25),
        ("confidence", 1.0000001, "out_of_range"),
        ("confidence", -0.1, "out_of_range"),
        ("confidence", float("nan"), "not_finite"),
        ("confidence", float("inf"), "not_finite"),
        ("confidence", True, "wrong_type"),
        ("confidence", [0.5], "wrong_type"),
        ("value", 1e9, 1e9),
        ("value", -3, -3.0),
        ("value", float("nan"), "not_finite"),
        ("value", 10**400, "wrong_type"),
        ("predicted_class", "x" * 200, "x" * 128),
        ("predicted_class", "é\ud800", "é?"),
        ("predicted_class", 3.0, "3"),
        ("predicted_class", False, "false"),
        ("predicted_class", float("nan"), "wrong_type"),
        ("predicted_class", {}, "wrong_type"),
        ("request_id", "i" * 300, "i" * 256),
        ("request_id", 7, "7"),
        ("predicted_class", np.float32(3.0), "3"),
        ("predicted_class", 1e300, str(int(1e300))[:128]),
        ("predicted_class", np.True_, "true"),
        pytest.param("predicted_class", 10**5000, "wrong_type", id="thousands of digits"),
        ("embedding", [], "wrong_type"),
        ("embedding", np.array([object()]), "wrong_type"),
        ("embedding", np.array(["1", "2"]), "wrong_type"),
        ("embedding", np.array([1j]), "wrong_type"),
        ("embedding", np.array(1.0), "wrong_shape"),
        ("embedding", torch.ones(2, dtype=torch.complex64), "wrong_type"),
        ("embedding", torch.ones(2, 2), "wrong_shape"),
        ("embedding", np.zeros((2, 2)), "wrong_shape"),
    ],
)
def test_values_are_cleaned_or_refused(name: str, value: Any, wanted: Any):
    refused: Counter[tuple[str, str]] = Counter()
    fields = clean({name: value}, lambda *key: refused.update([key]))
    if refused:
        assert fields == {}
        assert refused == {(name, wanted): 1}
    else:
        assert fields == {name: wanted}
        assert type(fields[name]) is type(wanted)

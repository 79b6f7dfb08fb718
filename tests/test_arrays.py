"""Arrays of any library and device, brought to where they are needed, in one file."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exporter.arrays import on_host

PACKAGE = Path(__file__).parents[1] / "exporter"


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(3, dtype=np.int8), np.int8),
        ([0.0, 1.0, 2.0], np.float64),
        (torch.arange(3, dtype=torch.int16), np.int16),
        (torch.arange(3, dtype=torch.float64, requires_grad=True), np.float64),
        (torch.arange(3, dtype=torch.float16), np.float32),
        (torch.arange(3, dtype=torch.bfloat16), np.float32),
    ],
    ids=str,
)
def test_any_array_comes_to_main_memory(array: Any, dtype: type):
    found = on_host(array)
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [0, 1, 2])


def test_an_array_that_is_there_is_not_copied():
    array = np.arange(3)
    assert on_host(array) is array
    assert np.shares_memory(on_host(tensor := torch.arange(3)), tensor.numpy())


def calls_of(source: str) -> set[str]:
    """Names of the methods that a module calls."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {function.attr for function in calls if isinstance(function, ast.Attribute)}


def test_no_other_file_takes_arrays_off_their_device():
    offenders = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if calls_of(path.read_text()) & {"detach", "cpu"}
    }
    assert offenders == {"arrays.py"}

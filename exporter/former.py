"""Modules that have another name now, and work for one release more with a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def moved(old: str, new: str, names: Sequence[str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module ``old`` whose ``names`` are in ``new`` now."""

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        warnings.warn(f"{old} is now {new}: write from {new} import {name}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(new), name)

    return get

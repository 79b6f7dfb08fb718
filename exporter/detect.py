"""The former name of :mod:`exporter.detectors`; it works for one release more."""

from __future__ import annotations

import warnings
from typing import Any

from exporter import detectors


def __getattr__(name: str) -> Any:
    if name not in detectors.__all__:
        raise AttributeError(f"module 'exporter.detect' has no attribute {name!r}")
    warnings.warn(
        f"exporter.detect is now exporter.detectors: write from exporter.detectors import {name}",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(detectors, name)

"""inference-exporter: a Prometheus exporter for what a machine-learning model does in production."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from exporter.former import FormerNames
from exporter.version import __version__

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.config.loading import load_config
    from exporter.errors import (
        ConfigError,
        DetectorFileError,
        InferenceExporterError,
        InvalidEmbedding,
        InvalidReference,
        PayloadError,
    )
    from exporter.hook import InferenceExporter
    from exporter.observation import DriftEvent, Observation
    from exporter.receivers.asgi.context import observe

_HOMES = {
    "Config": "exporter.config",
    "ConfigError": "exporter.errors",
    "DetectorFileError": "exporter.errors",
    "DriftEvent": "exporter.observation",
    "InferenceExporter": "exporter.hook",
    "InferenceExporterError": "exporter.errors",
    "InvalidEmbedding": "exporter.errors",
    "InvalidReference": "exporter.errors",
    "Observation": "exporter.observation",
    "PayloadError": "exporter.errors",
    "load_config": "exporter.config.loading",
    "observe": "exporter.receivers.asgi.context",
}

__all__ = [
    "Config",
    "ConfigError",
    "DetectorFileError",
    "DriftEvent",
    "InferenceExporter",
    "InferenceExporterError",
    "InvalidEmbedding",
    "InvalidReference",
    "Observation",
    "PayloadError",
    "__version__",
    "load_config",
    "observe",
]


sys.meta_path.append(FormerNames())


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import exporter`` costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'exporter' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

"""The former name of :mod:`exporter.detectors`; it works for one release more."""

from __future__ import annotations

from exporter.former import moved

_NAMES = (
    "CalibrationReport",
    "Detector",
    "Evidence",
    "OnlineMMD",
    "Scores",
    "TwoSampleResult",
    "two_sample_mmd",
)

__getattr__ = moved("exporter.detect", "exporter.detectors", _NAMES)

"""From arrays to verdicts: pure, with no threads, no asyncio, no Prometheus and no HTTP."""

from exporter.detect.base import Detector, Evidence, Scores
from exporter.detect.calibration import CalibrationReport
from exporter.detect.mmd import OnlineMMD
from exporter.detect.two_sample import TwoSampleResult, two_sample_mmd

__all__ = [
    "CalibrationReport",
    "Detector",
    "Evidence",
    "OnlineMMD",
    "Scores",
    "TwoSampleResult",
    "two_sample_mmd",
]

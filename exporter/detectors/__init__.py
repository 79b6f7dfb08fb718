"""From arrays to verdicts: pure, with no threads, no asyncio, no Prometheus and no HTTP."""

from exporter.detectors.base import Detector, Evidence, Scores
from exporter.detectors.mmd.calibration import CalibrationReport
from exporter.detectors.mmd.online import OnlineMMD
from exporter.detectors.mmd.two_sample import TwoSampleResult, two_sample_mmd

__all__ = [
    "CalibrationReport",
    "Detector",
    "Evidence",
    "OnlineMMD",
    "Scores",
    "TwoSampleResult",
    "two_sample_mmd",
]

"""From arrays to verdicts: pure, with no threads, no asyncio, no Prometheus and no HTTP."""

from exporter.detectors.base import Detector, Evidence, Scores
from exporter.detectors.mmd.calibration import CalibrationReport
from exporter.detectors.mmd.online import OnlineMMD
from exporter.detectors.mmd.two_sample import TwoSampleResult, two_sample_mmd
from exporter.detectors.mmd.typicality import atypical_p_value

__all__ = [
    "CalibrationReport",
    "Detector",
    "Evidence",
    "OnlineMMD",
    "Scores",
    "TwoSampleResult",
    "atypical_p_value",
    "two_sample_mmd",
]

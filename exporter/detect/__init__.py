"""From arrays to verdicts: pure, with no threads, no asyncio, no Prometheus and no HTTP."""

from exporter.detect.base import Detector, Evidence, Scores
from exporter.detect.calibration import CalibrationReport
from exporter.detect.mmd import OnlineMMD

__all__ = ["CalibrationReport", "Detector", "Evidence", "OnlineMMD", "Scores"]

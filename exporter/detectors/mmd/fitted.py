"""What :meth:`OnlineMMD.fit` found beside the thresholds, as it stands in the detector's file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exporter.detectors.mmd.calibration import CalibrationReport


@dataclass(frozen=True, slots=True)
class Fitted:
    """Windows, in observations, ascending; what the statistic needs; what the calibration came to."""

    windows: tuple[int, ...]
    expected_run_length: float
    bandwidth: float
    reference_kernel_mean: float  # off the diagonal
    report: CalibrationReport
    feature_names: tuple[str, ...]
    block: int = 1
    confidence: float = 0.5

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Fitted:
        """The same from a file's settings; whatever a stranger's raise."""
        report: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in settings["report"].items()
        }
        return cls(
            tuple(settings["windows"]),
            settings["expected_run_length"],
            settings["bandwidth"],
            settings["reference_kernel_mean"],
            CalibrationReport(**report),
            tuple(settings.get("feature_names", ())),  # which older files have not, nor blocks
            settings.get("block", 1),
            settings.get("confidence", 0.5),
        )

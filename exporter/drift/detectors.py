"""From an entry of ``drift`` to a detector: the one place that knows which kinds there are."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.config import DriftConfig, LearnConfig
from exporter.detectors.base import Detector
from exporter.errors import ConfigError, InferenceExporterError

if TYPE_CHECKING:
    from exporter.detectors import OnlineMMD

log = logging.getLogger(__name__)


def load_detector(config: DriftConfig, passed_over: Callable[[], None] | None = None) -> Detector | None:
    """The detector that a checkpoint or a fitted file holds, or None where one must be fitted first.

    A checkpoint that cannot be read, or that was made under other settings or from another reference,
    is passed over, with a warning and a call of ``passed_over``: a cold start is better than none, and
    better than verdicts by rules that no longer hold.

    Raises
    ------
    DetectorFileError
        If the configured reference is a detector file, but a damaged one.
    ConfigError
        If the file was fitted for other windows than the configuration asks for.
    """
    from exporter.detectors import OnlineMMD

    if config.detector == "alibi":
        return _load_alibi(config)
    fitted = None
    if not isinstance(config.reference, LearnConfig) and _is_detector_file(config.reference):
        fitted = OnlineMMD.load(config.reference, device=config.device)
        _check_windows(fitted, config)
    if config.checkpoint is not None and config.checkpoint.exists():
        try:
            kept = OnlineMMD.load(config.checkpoint, device=config.device)
            _check_checkpoint(kept, config, fitted)
        except (InferenceExporterError, OSError) as error:
            log.warning(
                "checkpoint %s is passed over, the detector starts cold: %s", config.checkpoint, error
            )
            if passed_over is not None:
                passed_over()
        else:
            return kept
    return fitted


def check_detector(config: DriftConfig) -> None:
    """Read what an entry of ``drift`` names, and raise what its start would raise."""
    if load_detector(config) is None and not isinstance(config.reference, LearnConfig):
        read_reference(config)


def read_reference(config: DriftConfig) -> Any:
    """The (n, d) reference that the configuration names, validated.

    Raises
    ------
    InvalidReference
        If it is missing, unreadable, too small, constant, not finite or of the wrong shape.
    """
    from exporter.references.reference import load_reference

    if isinstance(config.reference, LearnConfig):
        raise TypeError("a reference that is learnt cannot be read")
    return load_reference(config.reference, window=config.windows)


def fit_detector(
    config: DriftConfig, reference: Any, progress: Callable[[float], None] | None = None
) -> Detector:
    """Calibrate a detector on (n, d) reference data; takes seconds."""
    from exporter.detectors import OnlineMMD

    detector: Detector = OnlineMMD.fit(
        reference,
        window=config.window,
        expected_run_length=config.run_length,
        bandwidth=config.bandwidth,
        device=config.device,
        seed=config.seed,
        progress=progress,
    )
    return detector


def _load_alibi(config: DriftConfig) -> Detector:
    from exporter.detectors.alibi.detector import load_alibi_detector

    if isinstance(config.reference, LearnConfig):
        raise ConfigError(
            "drift.reference: is not set; with detector: alibi it is the folder that alibi-detect saved"
        )
    return load_alibi_detector(
        config.reference,
        window=config.windows[-1],
        trust_pickles=config.trust_pickles,
        sha256=config.sha256,
        device=config.device,
        seed=config.seed,
    )


def _is_detector_file(path: Path) -> bool:
    """Whether a reference is a fitted detector rather than an array of embeddings."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "thresholds.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _check_windows(detector: Detector, config: DriftConfig) -> None:
    if "window" in config.model_fields_set and detector.windows != config.windows:
        raise ConfigError(
            f"drift.window: {list(config.windows)} differs from {list(detector.windows)}, which "
            f"{config.reference} was fitted for; remove the key, or fit again with that window"
        )


def _check_checkpoint(kept: OnlineMMD, config: DriftConfig, fitted: OnlineMMD | None) -> None:
    """Whether a checkpoint holds the detector that the configuration asks for now."""
    reference: Any = None
    if fitted is not None:
        wanted = [fitted.windows, fitted.expected_run_length, fitted.bandwidth, *fitted.thresholds.tolist()]
        found = [kept.windows, kept.expected_run_length, kept.bandwidth, *kept.thresholds.tolist()]
        reference = fitted.reference
    else:
        wanted = [config.windows, config.run_length, config.bandwidth or kept.bandwidth]
        found = [kept.windows, kept.expected_run_length, kept.bandwidth]
        if not isinstance(config.reference, LearnConfig):
            reference = read_reference(config)
    if wanted != found:
        raise ConfigError(f"it was made for windows, run length, bandwidth {found}, not {wanted}")
    if reference is not None and not np.array_equal(reference, kept.reference):
        raise ConfigError(f"it was made from another reference than {config.reference}")

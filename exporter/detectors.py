"""From an entry of ``drift`` to a detector: the one place that knows which kinds there are."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.config import DriftConfig, LearnConfig
from exporter.detect.base import Detector
from exporter.errors import ConfigError, DetectorFileError

log = logging.getLogger(__name__)


def load_detector(config: DriftConfig) -> Detector | None:
    """The detector that a checkpoint or a fitted file holds, or None where one must be fitted first.

    A checkpoint that cannot be read is passed over, with a warning: a cold start is better than none.

    Raises
    ------
    DetectorFileError
        If the configured reference is a detector file, but a damaged one.
    ConfigError
        If the file was fitted for other windows than the configuration asks for.
    """
    from exporter.detect import OnlineMMD

    if config.detector == "alibi":
        return _load_alibi(config)
    if config.checkpoint is not None and config.checkpoint.exists():
        try:
            return _with_configured_windows(OnlineMMD.load(config.checkpoint, device=config.device), config)
        except (DetectorFileError, ConfigError, OSError) as error:
            log.warning(
                "checkpoint %s is passed over, the detector starts cold: %s", config.checkpoint, error
            )
    if isinstance(config.reference, LearnConfig) or not _is_detector_file(config.reference):
        return None
    return _with_configured_windows(OnlineMMD.load(config.reference, device=config.device), config)


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
    from exporter.reference import load_reference

    if isinstance(config.reference, LearnConfig):
        raise TypeError("a reference that is learnt cannot be read")
    return load_reference(config.reference, window=config.windows)


def fit_detector(
    config: DriftConfig, reference: Any, progress: Callable[[float], None] | None = None
) -> Detector:
    """Calibrate a detector on (n, d) reference data; takes seconds."""
    from exporter.detect import OnlineMMD

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
    from exporter.detect.alibi import load_alibi_detector

    if isinstance(config.reference, LearnConfig):
        raise ConfigError(
            "drift.reference: is not set; with detector: alibi it is the folder that alibi-detect saved"
        )
    return load_alibi_detector(config.reference, trust_pickles=config.trust_pickles, sha256=config.sha256)


def _is_detector_file(path: Path) -> bool:
    """Whether a reference is a fitted detector rather than an array of embeddings."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "thresholds.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _with_configured_windows(detector: Detector, config: DriftConfig) -> Detector:
    if "window" in config.model_fields_set and detector.windows != config.windows:
        raise ConfigError(
            f"drift.window: {list(config.windows)} differs from {list(detector.windows)}, which "
            f"{config.reference} was fitted for; remove the key, or fit again with that window"
        )
    return detector

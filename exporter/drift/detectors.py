"""From an entry of ``drift`` to a detector: read, taken up from a checkpoint, or calibrated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from exporter.arrays import check_device
from exporter.config import DetectorConfig, LearnConfig
from exporter.config.types import Rule
from exporter.detectors.base import Detector
from exporter.detectors.registry import DETECTORS
from exporter.detectors.storage import is_detector_file
from exporter.errors import ConfigError
from exporter.references.files import load_reference
from exporter.references.reference import Origin, Reference

log = logging.getLogger(__name__)


def load_detector(
    config: DetectorConfig, failed: Callable[[], None] | None = None
) -> tuple[Detector, Origin] | None:
    """The detector that a checkpoint or a fitted file holds, or None where one has to be calibrated.

    A checkpoint that cannot be read, or that was made under other settings or from another reference,
    is skipped, with a warning and a call of ``failed``: a cold start is better than none, and better
    than verdicts by rules that no longer hold. A fitted file that is damaged, or was fitted for other windows
    than the configuration asks for, is an error, as is a device that is not there.
    """
    check_device(config.device)
    saved = _saved(config)
    ready = None
    if saved is not None and not _changes(config, saved):
        ready = saved, Origin("loaded", _written(config.reference), row_count(saved))
    if config.checkpoint is None:
        return ready
    try:
        kept = DETECTORS[config.detector].load(config.checkpoint, device=config.device)
        _check(kept, config, saved)
    except FileNotFoundError:
        return ready
    except Exception as error:  # whatever is wrong with a checkpoint, the service starts
        log.warning("checkpoint %s is skipped, the detector starts cold: %s", config.checkpoint, error)
        if failed is not None:
            failed()
        return ready
    # When a learned reference was complete, a checkpoint does not say.
    return kept, Origin("restored", _written(config.reference), row_count(kept))


def check_kept(config: DetectorConfig, kept: Detector) -> None:
    """Raise a ConfigError unless a detector that was kept is the one that an entry asks for now."""
    _check(kept, config, _saved(config))


def row_count(detector: Detector) -> int:
    """How many rows a detector's reference has; 0 if it does not say."""
    return len(getattr(detector, "reference", ()))


def read_reference(config: DetectorConfig) -> tuple[DetectorConfig, Reference]:
    """What to calibrate a detector with: the settings, and the (n, d) reference that they name.

    A fitted file gives its own reference, and the settings that the configuration leaves open. An
    InvalidReference if the file cannot serve, a ConfigError if the settings do not go with it.
    """
    if isinstance(config.reference, LearnConfig):
        raise TypeError("a reference that is learnt cannot be read")
    saved: Any = _saved(config)
    completed = _completed(config, saved)
    try:
        completed.check_windows(completed.windows)
    except Rule as broken:
        raise ConfigError(f"drift.{broken.key}: {broken.value!r} is not valid: {broken}") from None
    if saved is None:
        table = load_reference(config.reference, window=config.windows)
        for note in table.notes:
            log.warning("%s: %s", config.reference, note)
        origin = Origin("loaded", _written(config.reference), len(table.rows))
        return completed, Reference(table.rows, origin, table.columns)
    changes = ", ".join(f"{name} {value}" for name, value in _changes(config, saved).items())
    log.info("%s was fitted for other settings; it is calibrated again for %s", config.reference, changes)
    origin = Origin("loaded", _written(config.reference), row_count(saved))
    return completed, Reference(saved.reference, origin, saved.feature_names)


def fit_detector(
    config: DetectorConfig, reference: Reference, progress: Callable[[float], None] | None = None
) -> Detector:
    """Calibrate a detector on a reference; takes seconds."""
    fit = DETECTORS[config.detector].fit
    if fit is None:
        raise TypeError(f"a detector {config.detector} cannot be made here")
    block = {"block": reference.origin.block} if reference.origin.block > 1 else {}
    return fit(
        reference.rows, feature_names=reference.names, progress=progress, **block, **config.fit_settings
    )


def check_detector(config: DetectorConfig) -> None:
    """Read what an entry of ``drift`` names, and raise what its start would raise."""
    if load_detector(config) is None and not isinstance(config.reference, LearnConfig):
        read_reference(config)


def _saved(config: DetectorConfig) -> Detector | None:
    """The detector that the reference is; None where it is embeddings, or still to be learned."""
    made = DETECTORS[config.detector]
    if isinstance(config.reference, LearnConfig):
        return None
    if made.open is not None:
        return made.open(config.reference, **config.load_settings)
    if config.reference.suffix != ".npz" or not is_detector_file(config.reference):
        return None
    fitted = made.load(config.reference, **config.load_settings)
    if "window" in config.model_fields_set and fitted.windows != config.windows:
        raise ConfigError(
            f"drift.window: {list(config.windows)} differs from {list(fitted.windows)}, which "
            f"{config.reference} was fitted for; remove the key, or fit again with that window"
        )
    return fitted


def _changes(config: DetectorConfig, fitted: Detector) -> dict[str, Any]:
    """What the configuration asks for and a fitted detector was not made for."""
    return {
        name: value
        for name, value in config.fit_settings.items()
        if name in config.asked and value != getattr(fitted, name, value)
    }


def _completed(config: DetectorConfig, fitted: Detector | None) -> DetectorConfig:
    """The configuration, with the settings of a fitted detector where it leaves them open."""
    if fitted is None:
        return config
    left_open = config.fit_settings.keys() - config.asked
    brought = {name: getattr(fitted, name) for name in left_open if hasattr(fitted, name)}
    return config.model_copy(update={"window": fitted.windows, **brought})


def _written(reference: Any) -> float:
    """When the file of a reference was written; 0 where there is none."""
    try:
        return 0.0 if isinstance(reference, LearnConfig) else Path(reference).stat().st_mtime
    except OSError:
        return 0.0


def _check(kept: Any, asked: DetectorConfig, saved: Any) -> None:
    """Whether a detector that was kept is the one that the configuration asks for now."""
    config = _completed(asked, saved)
    ready = None if saved is None or _changes(asked, saved) else saved
    wanted: dict[str, Any] = {"windows": config.windows, **config.fit_settings}
    for name in ("expected_run_length", "bandwidth"):
        wanted[name] = getattr(ready, name, wanted.get(name))
    wanted = {name: value for name, value in wanted.items() if value is not None and hasattr(kept, name)}
    found = {name: getattr(kept, name) for name in wanted}
    if wanted != found:
        raise ConfigError(f"it was made for {found}, not {wanted}")
    if ready is not None and config.fit_settings and not np.array_equal(ready.thresholds, kept.thresholds):
        raise ConfigError(f"its thresholds are not those of {config.reference}")
    if not isinstance(config.reference, LearnConfig):
        rows = read_reference(config)[1].rows if saved is None else saved.reference
        if not np.array_equal(rows, kept.reference):
            raise ConfigError(f"it was made from another reference than {config.reference}")

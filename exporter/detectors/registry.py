"""Which detectors there are, by the ``detector:`` key of the configuration.

To add one: its file in this package, its settings in :mod:`exporter.config.drift`, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exporter.detectors.alibi.detector import load_alibi_detector
from exporter.detectors.base import Detector
from exporter.detectors.mmd.online import OnlineMMD


@dataclass(frozen=True, slots=True)
class DetectorType:
    """How a detector of one type comes to be, by the settings that its configuration gives.

    ``load(path, device=...)`` reads what the detector's own ``save`` wrote: a fitted file, or a checkpoint.
    ``fit(reference, feature_names=..., progress=..., **fit_settings)`` makes one from (n, d) embeddings; None
    if it cannot be made here. ``open(path, **load_settings)`` reads what others wrote; None if the reference
    is a file of ``load``, or one of embeddings.
    """

    load: Callable[..., Detector]
    fit: Callable[..., Detector] | None = None
    open: Callable[..., Detector] | None = None


DETECTORS: dict[str, DetectorType] = {
    "mmd": DetectorType(OnlineMMD.load, fit=OnlineMMD.fit),
    "alibi": DetectorType(OnlineMMD.load, open=load_alibi_detector),
}

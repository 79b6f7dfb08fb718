"""Why a detector spoke: the dimensions that moved, and the window's members by how typical they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from exporter.detectors.base import Detector, Evidence
from exporter.drift.detector_metrics import Onset
from exporter.observation import DriftEvent, Observation, TypicalObservation

_SHOWN = 5


class Recent:
    """Identity and time of the last ``size`` observations that entered a detector, oldest first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: deque[tuple[str | None, float]] = deque(maxlen=size)

    def add(self, observations: Sequence[Observation]) -> None:
        """Note those that entered the window, in order."""
        newest = observations[-self.size :]
        self._members.extend([(item.request_id, item.timestamp) for item in newest])

    def clear(self) -> None:
        """Forget all, as when the window is emptied."""
        self._members.clear()

    def by_typicality(self, evidence: Evidence) -> list[TypicalObservation]:
        """The members of the window that ``evidence`` describes, the least typical first.

        Both end with the newest observation. Members that entered before a restart are left out:
        a checkpoint holds their embeddings, not their names.
        """
        known = min(len(self._members), len(evidence.witness))
        if not known:
            return []
        members = list(self._members)[-known:]
        ranked = sorted(zip(evidence.witness[-known:], members, strict=True), key=lambda pair: float(pair[0]))
        return [
            TypicalObservation(request_id, timestamp, float(witness))
            for witness, (request_id, timestamp) in ranked
        ]


def moved_dimensions(evidence: Evidence) -> tuple[tuple[int, float], ...]:
    """The (dimension, shift in reference standard deviations) that moved most."""
    pairs = zip(evidence.dimensions, evidence.shifts, strict=True)
    return tuple((int(dimension), float(shift)) for dimension, shift in pairs)[:_SHOWN]


def drift_event(
    model: str, onset: Onset, observation: Observation, detector: Detector, recent: Recent, now: float
) -> DriftEvent:
    """What there is to say about the onset of an episode with ``observation``.

    The detector has taken its batch to the end, and ``recent`` with it: the evidence is that of the window
    at the end of the batch.
    """
    evidence = detector.evidence(onset.window)
    ranked = recent.by_typicality(evidence)
    return DriftEvent(
        model=model,
        detector=onset.label,
        timestamp=now,
        test_stat=onset.test_stat,
        threshold=onset.threshold,
        expected_run_length=detector.expected_run_length,
        window=onset.window,
        request_id=observation.request_id,
        moved_dimensions=moved_dimensions(evidence),
        moved_names=evidence.names[:_SHOWN],
        least_typical=tuple(ranked[:_SHOWN]),
        most_typical=tuple(reversed(ranked[-_SHOWN:])),
    )

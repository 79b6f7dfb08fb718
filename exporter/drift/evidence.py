"""Why a detector spoke: the dimensions that moved, and the window's members by how typical they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from exporter.detectors.base import Detector, Evidence
from exporter.drift.window_metrics import Onset
from exporter.model import ModelId
from exporter.observation import DriftEvent, Observation, TypicalObservation

_SHOWN = 5


class Recent:
    """Identity and time of the last ``size`` observations that entered a detector, oldest first."""

    def __init__(self, size: int) -> None:
        self._members: deque[tuple[str | None, float]] = deque(maxlen=size)

    def add(self, observations: Iterable[Observation]) -> None:
        """Note those that entered the window, in order."""
        self._members.extend((item.request_id, item.timestamp) for item in observations)

    def clear(self) -> None:
        """Forget all, as when the window is emptied."""
        self._members.clear()

    def by_typicality(self, evidence: Evidence) -> list[TypicalObservation]:
        """The members of the window that ``evidence`` describes, the least typical first.

        Both end with the newest observation. Members that entered before a restart are left out:
        a checkpoint holds their embeddings, not their names.
        """
        # From the newest on, as far as both go.
        pairs = zip(reversed(evidence.witness.tolist()), reversed(self._members), strict=False)
        members = [TypicalObservation(name, time, witness) for witness, (name, time) in pairs]
        members.reverse()  # the oldest first, also among equals
        return sorted(members, key=lambda member: member.witness)


def moved_dimensions(evidence: Evidence) -> tuple[tuple[int, float], ...]:
    """The (dimension, shift in reference standard deviations) that moved most."""
    pairs = zip(evidence.dimensions.tolist(), evidence.shifts.tolist(), strict=True)
    return tuple(pairs)[:_SHOWN]


def drift_event(
    model: ModelId, onset: Onset, observation: Observation, detector: Detector, recent: Recent, now: float
) -> DriftEvent:
    """What there is to say about the onset of an episode with ``observation``.

    The detector has taken its batch to the end, and ``recent`` with it: the evidence is that of the window
    at the end of the batch.
    """
    evidence = detector.evidence(onset.window)
    ranked = recent.by_typicality(evidence)
    return DriftEvent(
        model=model.name,
        version=model.version,
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

"""Why a detector spoke: the observations of its window, by how typical of the reference they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from exporter.detectors.base import Evidence
from exporter.observation import Observation, TypicalObservation

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


def least_and_most(
    ranked: list[TypicalObservation],
) -> tuple[tuple[TypicalObservation, ...], tuple[TypicalObservation, ...]]:
    """The first few and, most typical first, the last few."""
    return tuple(ranked[:_SHOWN]), tuple(reversed(ranked[-_SHOWN:]))


def moved_dimensions(evidence: Evidence) -> tuple[tuple[int, float], ...]:
    """The (dimension, shift in reference standard deviations) that moved most."""
    pairs = zip(evidence.dimensions, evidence.shifts, strict=True)
    return tuple((int(dimension), float(shift)) for dimension, shift in pairs)[:_SHOWN]

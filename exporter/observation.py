"""The values that flow: an :class:`Observation` in, a :class:`DriftEvent` out. Both are frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Literal

Source = Literal["hook", "sidecar", "ingest", "record"]
Outcome = Literal["processed", "sampled_out"]
LabelOutcome = Literal["joined", "waiting", "duplicate", "conflict"]
LABEL_OUTCOMES: tuple[LabelOutcome, ...] = ("joined", "waiting", "duplicate", "conflict")


@dataclass(frozen=True, slots=True)
class Observation:
    """One prediction, as seen from outside: what was asked and what was answered.

    All fields but ``model`` and ``source`` are optional, since services differ in what they say.

    Parameters
    ----------
    model
        Name of the model, the value of the ``model`` label.
    source
        Where the bytes came from.
    timestamp
        When the answer was complete, in seconds since the epoch.
    predicted_class
        The class that the model chose, as text.
    confidence
        The model's probability of that class, 0 to 1.
    value
        The output of a regression model.
    embedding
        (d,) floating-point array: numpy, or torch on the device where it was captured.
    features
        (k,) floats, or a mapping from name to number or category: what the model was asked.
    request_id
        The caller's identifier; never a label.
    latency_seconds
        From the first byte of the request to the last byte of the answer.
    version
        Which release of the model, where that is said: the value of the ``version`` label.
    feature_names
        (d,) names of the embedding's components, sorted, where it is made of named features; else None.
        The same object as long as the names stay the same.
    """

    model: str
    source: Source
    timestamp: float = 0.0
    predicted_class: str | None = None
    confidence: float | None = None
    value: float | None = None
    embedding: Any = None
    features: Any = None
    request_id: str | None = None
    latency_seconds: float | None = None
    version: str = ""
    feature_names: tuple[str, ...] | None = None

    @property
    def n_bytes(self) -> int:
        """What it holds in memory, roughly."""
        size = 512 + int(getattr(self.embedding, "nbytes", 0))
        if isinstance(self.features, Sized):
            size += 64 * len(self.features)
        return size


class _Draft:
    """An :class:`Observation` that is still written to. Of the same layout, so that it can become one."""

    __slots__ = tuple(Observation.__slots__)


def observation_of(
    model: str, source: Source, timestamp: float, latency_seconds: float | None, given: Mapping[str, Any]
) -> Observation:
    """The :class:`Observation` whose other fields are those of ``given``, in a third of the time.

    A frozen dataclass pays for each of its fields with a call of ``object.__setattr__``.
    """
    get = given.get
    draft: Any = _Draft()
    draft.model = model
    draft.source = source
    draft.timestamp = timestamp
    draft.predicted_class = get("predicted_class")
    draft.confidence = get("confidence")
    draft.value = get("value")
    draft.embedding = get("embedding")
    draft.features = get("features")
    draft.request_id = get("request_id")
    draft.latency_seconds = latency_seconds
    draft.version = get("version") or ""
    draft.feature_names = get("feature_names")
    draft.__class__ = Observation
    observation: Observation = draft
    return observation


def observations_of(
    model: str,
    source: Source,
    timestamp: float,
    n: int,
    columns: Mapping[str, Sequence[Any]],
    feature_names: tuple[str, ...] | None = None,
) -> list[Observation]:
    """``n`` observations, of which ``columns`` have the other fields, each in its place."""
    nothing = (None,) * n
    found: list[Any] = []
    for predicted_class, confidence, value, embedding, features, request_id in zip(
        columns.get("predicted_class", nothing),
        columns.get("confidence", nothing),
        columns.get("value", nothing),
        columns.get("embedding", nothing),
        columns.get("features", nothing),
        columns.get("request_id", nothing),
        strict=True,
    ):
        draft: Any = _Draft()
        draft.model = model
        draft.source = source
        draft.timestamp = timestamp
        draft.predicted_class = predicted_class
        draft.confidence = confidence
        draft.value = value
        draft.embedding = embedding
        draft.features = features
        draft.request_id = request_id
        draft.latency_seconds = None
        draft.version = ""
        draft.feature_names = feature_names
        draft.__class__ = Observation
        found.append(draft)
    return found


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true of one prediction.

    ``label`` is the true class as text, or the true value of a regression as a float.
    """

    model: str
    request_id: str
    label: str | float
    timestamp: float = 0.0


@dataclass(frozen=True, slots=True)
class TypicalObservation:
    """One member of the window that raised an alarm, and how typical of the reference it is.

    ``witness`` is the mean kernel value between it and the reference (0 to 1): near 0 means unlike
    anything in the reference.
    """

    request_id: str | None
    timestamp: float
    witness: float


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """The onset of a drift episode: which detector spoke, how loudly, and on what evidence.

    ``request_id``, ``test_stat`` and ``threshold`` are those of the first test above the threshold,
    ``window`` is its window length in observations. The evidence is that of the window of this length
    when the detector's batch was through, which ends with that observation or a later one of the batch:
    ``moved_dimensions`` lists (dimension, shift in reference standard deviations), largest first, and
    ``moved_names`` what these are called, if the reference says so;
    ``least_typical`` and ``most_typical`` are members of that window, the extreme ones first.
    """

    model: str
    detector: str
    timestamp: float
    test_stat: float
    threshold: float
    expected_run_length: float
    window: int
    request_id: str | None = None
    moved_dimensions: tuple[tuple[int, float], ...] = ()
    least_typical: tuple[TypicalObservation, ...] = ()
    most_typical: tuple[TypicalObservation, ...] = ()
    moved_names: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    version: str = ""

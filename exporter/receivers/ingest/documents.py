"""Observations, labels and model reports that others post, as models; OpenAPI is generated from them.

A document either becomes values or raises :class:`IngestError`. Nothing half-valid goes through, so a bad
row cannot move a detector.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, model_validator

from exporter.observation import Label, Observation
from exporter.receivers.ingest.validation import (
    ClassName,
    Document,
    Embedding,
    Features,
    Latency,
    ModelName,
    Moment,
    Probability,
    RequestId,
    Truth,
    ruled,
)

# How many there may be in a list; it is read up to the first mistake.
MANY = Field(max_length=10_000, fail_fast=True)
_MODEL_TYPE = ruled("it must be classifier or regression; send one of the two")


class _Evidence(Document):
    embedding: Embedding | None = None
    features: Features | None = None
    latency_seconds: Latency | None = None


class PostedObservation(_Evidence):
    """One prediction: what went in and what came out, as far as it is known."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("predicted_class", "confidence", "value", "embedding", "features")
            ]
        }
    )

    model: ModelName | None = None
    timestamp: Moment | None = None
    predicted_class: ClassName | None = None
    confidence: Probability | None = None
    value: float | None = None
    request_id: RequestId | None = None

    @model_validator(mode="after")
    def _says_something(self) -> PostedObservation:
        said = (self.predicted_class, self.confidence, self.value)
        if said == (None, None, None) and self.embedding is None and self.features is None:
            raise ValueError(
                "it says nothing about a prediction; "
                "give at least one of predicted_class, confidence, value, embedding, features"
            )
        return self

    def observation(self, model: str, now: float) -> Observation:
        """As the pipeline takes it; ``model`` and ``now`` are for one that says neither."""
        said = dict(self)
        said["model"] = self.model or model
        said["timestamp"] = now if self.timestamp is None else self.timestamp
        return Observation(source="ingest", **said)


class PostedLabel(Document):
    """What turned out to be true of one prediction."""

    model: ModelName | None = None
    request_id: RequestId
    label: Truth
    timestamp: Moment | None = None

    def as_label(self, model: str, now: float) -> Label:
        """As it is joined; ``model`` and ``now`` are for one that says neither."""
        timestamp = now if self.timestamp is None else self.timestamp
        return Label(self.model or model, self.request_id, self.label, timestamp)


class _Row(_Evidence):
    prediction_time: Moment
    record_id: RequestId
    prediction: Any
    prediction_probability: Probability | None = None
    ground_truth_label: Any = None

    def observation(self, model: str) -> Observation:
        """As the pipeline takes it."""
        is_class = isinstance(self.prediction, str)
        return Observation(
            model=model,
            source="ingest",
            timestamp=self.prediction_time,
            predicted_class=self.prediction if is_class else None,
            confidence=self.prediction_probability,
            value=None if is_class else self.prediction,
            embedding=self.embedding,
            features=self.features,
            request_id=self.record_id,
            latency_seconds=self.latency_seconds,
        )


class ClassifierRow(_Row):
    """A classifier's prediction, with its truth where it is known."""

    prediction: ClassName
    ground_truth_label: ClassName | None = None


class RegressionRow(_Row):
    """A regression's prediction, with its truth where it is known."""

    prediction: float
    ground_truth_label: float | None = None


class Report(Document):
    """What a batch service reports of one model: its predictions, and the labels known by then."""

    model_id: ModelName
    model_type: Any
    last_training_time: Moment
    predictions: Any

    def observations(self) -> list[Observation]:
        """The predictions."""
        return [row.observation(self.model_id) for row in self.predictions]

    def labels(self) -> list[Label]:
        """The truths that are known."""
        return [
            Label(self.model_id, row.record_id, row.ground_truth_label, row.prediction_time)
            for row in self.predictions
            if row.ground_truth_label is not None
        ]


class ClassifierReport(Report):
    """A classifier's predictions."""

    model_type: Annotated[Literal["classifier"], _MODEL_TYPE]
    predictions: Annotated[list[ClassifierRow], MANY]


class RegressionReport(Report):
    """A regression's predictions."""

    model_type: Annotated[Literal["regression"], _MODEL_TYPE]
    predictions: Annotated[list[RegressionRow], MANY]


class _Observations(Document):
    observations: Annotated[list[PostedObservation], MANY]


class _Labels(Document):
    labels: Annotated[list[PostedLabel], MANY]


class Accepted(BaseModel):
    """How much was taken in, and what became of labels."""

    accepted: int
    duplicates: int | None = None
    joined: int | None = None
    waiting: int | None = None
    duplicate: int | None = None
    conflict: int | None = None


class Refused(BaseModel):
    """Why not. ``field`` is the path of the field at fault, empty where it is the body."""

    error: str
    field: str | None = None
    accepted: int | None = None


def _one_or_many(one: Any, wrapped: type[Document]) -> TypeAdapter[Any]:
    """One document, a list of them, or an object that holds such a list."""
    (key,) = wrapped.model_fields

    def shape(value: Any) -> str:
        if isinstance(value, dict):
            return "<wrapped>" if key in value else "<one>"
        return "<many>" if isinstance(value, list) else "<one>"

    alternatives: Any = (
        Annotated[one, Tag("<one>")]
        | Annotated[Annotated[list[one], MANY], Tag("<many>")]
        | Annotated[wrapped, Tag("<wrapped>")]
    )
    return TypeAdapter(Annotated[alternatives, Discriminator(shape)])


def _type_of_report(value: Any) -> str:
    is_regression = isinstance(value, dict) and value.get("model_type") == "regression"
    return "<regression>" if is_regression else "<classifier>"


OBSERVATIONS = _one_or_many(PostedObservation, _Observations)
LABELS = _one_or_many(PostedLabel, _Labels)
REPORT: TypeAdapter[Report] = TypeAdapter(
    Annotated[
        Annotated[ClassifierReport, Tag("<classifier>")] | Annotated[RegressionReport, Tag("<regression>")],
        Discriminator(_type_of_report),
    ]
)


def listed(posted: Any) -> list[Any]:
    """The documents of :data:`OBSERVATIONS` or :data:`LABELS`, in whichever shape they came."""
    if isinstance(posted, _Observations):
        return posted.observations
    if isinstance(posted, _Labels):
        return posted.labels
    return posted if isinstance(posted, list) else [posted]

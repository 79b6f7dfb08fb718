"""Observations, labels and model reports that others post, as models; OpenAPI is generated from them.

A document either becomes values or raises :class:`IngestError`. Nothing half-valid goes through, so a bad
row cannot move a detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    create_model,
    model_validator,
)

from exporter.observation import Label, Observation, observation_of
from exporter.receivers.ingest.validation import (
    ClassName,
    Document,
    Embedding,
    Features,
    ModelName,
    Moment,
    Probability,
    RequestId,
    Truth,
    Version,
    ruled,
)

# How many there may be in a list; it is read up to the first mistake.
MANY = Field(max_length=10_000, fail_fast=True)
_MODEL_TYPE = ruled("it must be classifier or regression; send one of the two")
_EVIDENCE = ("predicted_class", "confidence", "value", "embedding", "features")


class _Prediction(Document):
    embedding: Embedding | None = None
    features: Features | None = None
    latency_seconds: Annotated[float, Field(ge=0)] | None = None
    timestamp: Moment | None = None

    def observation(self, model: str, now: float) -> Observation:
        """As the pipeline takes it; ``model`` and ``now`` are for one that says neither."""
        said = dict(self)
        timestamp = now if self.timestamp is None else self.timestamp
        return observation_of(said.get("model") or model, "ingest", timestamp, self.latency_seconds, said)


class PostedObservation(_Prediction):
    """One prediction: what went in and what came out, as far as it is known."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in _EVIDENCE
            ]
        }
    )

    model: ModelName | None = None
    version: Version | None = None
    predicted_class: ClassName | None = None
    confidence: Probability | None = None
    value: float | None = None
    request_id: RequestId | None = None

    @model_validator(mode="after")
    def _says_something(self) -> PostedObservation:
        if all(getattr(self, name) is None for name in _EVIDENCE):
            raise ValueError(
                f"it says nothing about a prediction; give at least one of {', '.join(_EVIDENCE)}"
            )
        return self


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


class _Row(_Prediction):
    timestamp: Moment = Field(alias="prediction_time")
    request_id: RequestId = Field(alias="record_id")
    confidence: Probability | None = Field(default=None, alias="prediction_probability")
    ground_truth_label: Any = None


class ClassifierRow(_Row):
    """A classifier's prediction, with its truth where it is known."""

    predicted_class: ClassName = Field(alias="prediction")
    ground_truth_label: ClassName | None = None


class RegressionRow(_Row):
    """A regression's prediction, with its truth where it is known."""

    value: float = Field(alias="prediction")
    ground_truth_label: float | None = None


class Report(Document):
    """What a batch service reports of one model: its predictions, and the labels known by then."""

    model_id: ModelName
    model_type: str
    last_training_time: Moment
    predictions: Sequence[_Row]


class ClassifierReport(Report):
    """A classifier's predictions."""

    model_type: Annotated[Literal["classifier"], _MODEL_TYPE]
    predictions: Annotated[list[ClassifierRow], MANY]


class RegressionReport(Report):
    """A regression's predictions."""

    model_type: Annotated[Literal["regression"], _MODEL_TYPE]
    predictions: Annotated[list[RegressionRow], MANY]


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


def _one_or_many(one: Any, key: str) -> TypeAdapter[list[Any]]:
    """A list of documents, which may come as one document, or as an object with the list under ``key``."""
    many: Any = Annotated[list[one], MANY]
    fields: Any = {key: (many, ...)}
    wrapped: Any = create_model(f"{one.__name__}s", __base__=Document, **fields)

    def shape(value: Any) -> str:
        if isinstance(value, list):
            return "<many>"
        return "<wrapped>" if isinstance(value, dict) and key in value else "<one>"

    alternatives: Any = (
        Annotated[one, AfterValidator(lambda posted: [posted]), Tag("<one>")]
        | Annotated[many, Tag("<many>")]
        | Annotated[wrapped, AfterValidator(attrgetter(key)), Tag("<wrapped>")]
    )
    return TypeAdapter(Annotated[alternatives, Discriminator(shape)])


def _type_of_report(value: Any) -> str:
    is_regression = isinstance(value, dict) and value.get("model_type") == "regression"
    return "<regression>" if is_regression else "<classifier>"


OBSERVATIONS: TypeAdapter[list[PostedObservation]] = _one_or_many(PostedObservation, "observations")
LABELS: TypeAdapter[list[PostedLabel]] = _one_or_many(PostedLabel, "labels")
REPORT: TypeAdapter[Report] = TypeAdapter(
    Annotated[
        Annotated[ClassifierReport, Tag("<classifier>")] | Annotated[RegressionReport, Tag("<regression>")],
        Discriminator(_type_of_report),
    ]
)

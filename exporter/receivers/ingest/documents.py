"""Observations, labels and model reports that others post: parsed documents to frozen values.

Pure: a document either becomes values as a whole or raises :class:`IngestError`, which names the
field. Nothing half-valid goes through, so a bad row cannot move a detector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from exporter.decoders.base import decoded
from exporter.decoders.values import MAX_CLASS_CHARACTERS, MAX_REQUEST_ID_CHARACTERS, class_name
from exporter.errors import IngestError, PayloadError
from exporter.http.exchange import Headers
from exporter.observation import Label, Observation

MAX_ITEMS = 10_000
MAX_EMBEDDING = 65_536
LARGEST_SINGLE = 3.4e38
MAX_FEATURES = 4096
MAX_MODEL_CHARACTERS = 128
MAX_WHOLE = 9 * 10**18  # of an identifier that is a number; the parser is exact up to here
_LATEST = 253_402_300_799.0  # the end of the year 9999

ModelType = Literal["classifier", "regression"]

OBSERVATION_FIELDS = (
    *("model", "timestamp", "predicted_class", "confidence", "value", "embedding", "features"),
    *("request_id", "latency_seconds"),
)
LABEL_FIELDS = ("model", "request_id", "label", "timestamp")
REPORT_FIELDS = ("model_id", "model_type", "last_training_time", "predictions")
ROW_FIELDS = (
    *("prediction_time", "record_id", "prediction", "prediction_probability", "ground_truth_label"),
    *("features", "embedding", "latency_seconds"),
)


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a batch service reports of one model: its predictions, and the labels known by then.

    ``last_training_time`` is in seconds since the epoch; rows before it are what the model knew.
    """

    model: str
    model_type: ModelType
    last_training_time: float
    observations: tuple[Observation, ...]
    labels: tuple[Label, ...]


def parse_body(body: bytes, headers: Headers, max_bytes: int) -> Any:
    """The JSON document of a request's body.

    Raises
    ------
    IngestError
        413 for a body that decodes to more than ``max_bytes``, 415 for an encoding that cannot be
        undone, 400 for what is not JSON (NaN and nesting beyond 1024 levels are not).
    """
    try:
        plain = decoded(body, headers, max_bytes)
    except PayloadError as error:
        raise IngestError(413 if error.reason == "body_too_large" else 415, "", str(error)) from None
    try:
        return orjson.loads(plain)
    except orjson.JSONDecodeError as error:
        raise IngestError(400, "", f"body is not JSON: {error}; send JSON in UTF-8") from None


def parse_observations(document: Any, *, model: str, now: float) -> list[Observation]:
    """Observations from one object, a list of them, or ``{"observations": [...]}``.

    Parameters
    ----------
    model
        The model of observations that name none.
    now
        The time of observations that have none, in seconds since the epoch.
    """
    return [_observation(item, where, model, now) for where, item in _items(document, "observations")]


def parse_labels(document: Any, *, model: str, now: float) -> list[Label]:
    """Labels from one object, a list of them, or ``{"labels": [...]}``."""
    return [_label(item, where, model, now) for where, item in _items(document, "labels")]


def parse_report(document: Any) -> ModelReport:
    """A model's report: ``{model_id, model_type, last_training_time, predictions: [...]}``."""
    fields = _object(document, "", REPORT_FIELDS)
    model = _text("model_id", fields.get("model_id"), MAX_MODEL_CHARACTERS)
    model_type = fields.get("model_type")
    if model_type not in ("classifier", "regression"):
        raise _invalid("model_type", model_type, "must be classifier or regression")
    trained = parse_time("last_training_time", fields.get("last_training_time"))
    rows = fields.get("predictions")
    if not isinstance(rows, list):
        raise _invalid("predictions", rows, "must be a list of predictions")
    _count("predictions", rows)
    observations, labels = [], []
    for index, row in enumerate(rows):
        observation, label = _row(row, f"predictions[{index}]", model, model_type)
        observations.append(observation)
        if label is not None:
            labels.append(label)
    return ModelReport(model, model_type, trained, tuple(observations), tuple(labels))


def _items(document: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(document, dict) and name in document:
        rows = _object(document, "", (name,))[name]
        if not isinstance(rows, list):
            raise _invalid(name, rows, "must be a list")
        _count(name, rows)
        return [(f"{name}[{index}]", item) for index, item in enumerate(rows)]
    if isinstance(document, list):
        _count("", document)
        return [(f"[{index}]", item) for index, item in enumerate(document)]
    return [("", document)]


def _observation(item: Any, where: str, model: str, now: float) -> Observation:
    fields = _object(item, where, OBSERVATION_FIELDS)
    at = f"{where}." if where else ""
    observation = Observation(
        model=_optional(at, fields, "model", _model) or model,
        source="ingest",
        timestamp=_or(_optional(at, fields, "timestamp", parse_time), now),
        predicted_class=_optional(at, fields, "predicted_class", _class),
        confidence=_optional(at, fields, "confidence", _probability),
        value=_optional(at, fields, "value", _number),
        embedding=_optional(at, fields, "embedding", _embedding),
        features=_optional(at, fields, "features", _features),
        request_id=_optional(at, fields, "request_id", _request_id),
        latency_seconds=_optional(at, fields, "latency_seconds", _latency),
    )
    said = (observation.predicted_class, observation.confidence, observation.value)
    if said == (None, None, None) and observation.embedding is None and observation.features is None:
        raise IngestError(
            422,
            where or "body",
            "says nothing about a prediction; "
            "give at least one of predicted_class, confidence, value, embedding, features",
        )
    return observation


def _label(item: Any, where: str, model: str, now: float) -> Label:
    fields = _object(item, where, LABEL_FIELDS)
    at = f"{where}." if where else ""
    return Label(
        model=_optional(at, fields, "model", _model) or model,
        request_id=_request_id(f"{at}request_id", fields.get("request_id")),
        label=_truth(f"{at}label", fields.get("label")),
        timestamp=_or(_optional(at, fields, "timestamp", parse_time), now),
    )


def _row(item: Any, where: str, model: str, model_type: ModelType) -> tuple[Observation, Label | None]:
    fields = _object(item, where, ROW_FIELDS)
    at = f"{where}."
    is_class = model_type == "classifier"
    prediction = fields.get("prediction")
    record = _request_id(f"{at}record_id", fields.get("record_id"))
    time = parse_time(f"{at}prediction_time", fields.get("prediction_time"))
    observation = Observation(
        model=model,
        source="ingest",
        timestamp=time,
        predicted_class=_class(f"{at}prediction", prediction) if is_class else None,
        confidence=_optional(at, fields, "prediction_probability", _probability),
        value=None if is_class else _number(f"{at}prediction", prediction),
        embedding=_optional(at, fields, "embedding", _embedding),
        features=_optional(at, fields, "features", _features),
        request_id=record,
        latency_seconds=_optional(at, fields, "latency_seconds", _latency),
    )
    truth = fields.get("ground_truth_label")
    if truth is None:
        return observation, None
    name = f"{at}ground_truth_label"
    return observation, Label(model, record, _class(name, truth) if is_class else _number(name, truth), time)


def _object(item: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise _invalid(where or "body", item, f"must be an object with some of {', '.join(known)}")
    for name in item:
        if name not in known:
            field = f"{where}.{name[:64]}" if where else name[:64]
            raise _invalid(field, item[name], f"is not a field; the fields are {', '.join(known)}")
    return item


def _optional(at: str, fields: dict[str, Any], name: str, read: Callable[[str, Any], Any]) -> Any:
    value = fields.get(name)
    return None if value is None else read(at + name, value)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _count(where: str, rows: list[Any]) -> None:
    if len(rows) > MAX_ITEMS:
        raise IngestError(422, where or "body", f"has {len(rows)} items; send at most {MAX_ITEMS} at a time")


def _text(field: str, value: Any, limit: int) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_WHOLE:
        value = int(value)  # JSON knows no difference between 7 and 7.0
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_WHOLE:
        value = str(value)
    if not isinstance(value, str) or not value or len(value) > limit:
        raise _invalid(
            field, value, f"must be text of 1 to {limit} characters, or a whole number up to {MAX_WHOLE}"
        )
    return value


def _model(field: str, value: Any) -> str:
    return _text(field, value, MAX_MODEL_CHARACTERS)


def _request_id(field: str, value: Any) -> str:
    return _text(field, value, MAX_REQUEST_ID_CHARACTERS)


def _class(field: str, value: Any) -> str:
    text = class_name(value)
    if text is None or (isinstance(value, str) and len(value) > MAX_CLASS_CHARACTERS):
        raise _invalid(
            field, value, f"must be text of at most {MAX_CLASS_CHARACTERS} characters, a number or a boolean"
        )
    return text


def _truth(field: str, value: Any) -> str | float:
    return value if isinstance(value, float) else _class(field, value)


def _number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, float | int) or not math.isfinite(value):
        raise _invalid(field, value, "must be a finite number")
    return float(value)


def _probability(field: str, value: Any) -> float:
    number = _number(field, value)
    if not 0.0 <= number <= 1.0:
        raise _invalid(field, value, "must be from 0 to 1")
    return number


def _latency(field: str, value: Any) -> float:
    number = _number(field, value)
    if number < 0.0:
        raise _invalid(field, value, "must be 0 or more seconds")
    return number


def parse_time(field: str, value: Any) -> float:
    """Seconds since the epoch, from a number or an ISO 8601 text; without a zone it is UTC.

    ``field`` names the value in the error.
    """
    rule = "must be seconds since 1970, or a date and time such as 2026-01-31T12:00:00Z"
    if isinstance(value, str) and len(value) <= 64:
        text = f"{value[:-1]}+00:00" if value[-1:] in ("Z", "z") else value
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            seconds = moment.timestamp()
        except (ValueError, OverflowError):
            raise _invalid(field, value, rule) from None
    elif isinstance(value, float | int) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise _invalid(field, value, rule)
    if not 0.0 <= seconds <= _LATEST:
        raise _invalid(field, value, rule)
    return seconds


def _embedding(field: str, value: Any) -> npt.NDArray[np.float32]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_EMBEDDING:
        raise _invalid(field, value, f"must be a list of 1 to {MAX_EMBEDDING} numbers")
    for index, item in enumerate(value):
        if type(item) is not float and type(item) is not int:
            raise _invalid(f"{field}[{index}]", item, "must be a number")
    array = np.asarray(value, dtype=np.float64)
    inside = np.abs(array) <= LARGEST_SINGLE
    if not inside.all():
        index = int(inside.argmin())
        rule = f"must be from {-LARGEST_SINGLE} to {LARGEST_SINGLE}, the range of single precision"
        raise _invalid(f"{field}[{index}]", value[index], rule)
    return array.astype(np.float32)


def _features(field: str, value: Any) -> Any:
    """A list of numbers, or a mapping from name to a number, text, boolean or null."""
    if not isinstance(value, list | dict) or not 1 <= len(value) <= MAX_FEATURES:
        raise _invalid(field, value, f"must be a list or an object of 1 to {MAX_FEATURES} features")
    if isinstance(value, list):
        for index, item in enumerate(value):
            _number(f"{field}[{index}]", item)
        return value
    for name, item in value.items():
        if isinstance(item, list | dict):
            raise _invalid(f"{field}.{name[:64]}", item, "must be a number, text, boolean or null")
    return value


def _invalid(field: str, value: Any, rule: str) -> IngestError:
    if value is None:
        return IngestError(422, field, f"is missing or null; it {rule}")
    if isinstance(value, list | dict):
        shown = f"a list of {len(value)}" if isinstance(value, list) else "an object"
    else:
        shown = repr(value)[:80]
    return IngestError(422, field, f"{shown} {rule}")

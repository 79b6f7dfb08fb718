"""The ingest API's OpenAPI 3.1 document, as data."""

from __future__ import annotations

from typing import Any

from exporter.decoders.values import MAX_CLASS_CHARACTERS, MAX_REQUEST_ID_CHARACTERS
from exporter.receivers.ingest.documents import (
    LARGEST_SINGLE,
    MAX_EMBEDDING,
    MAX_FEATURES,
    MAX_ITEMS,
    MAX_MODEL_CHARACTERS,
    MAX_WHOLE,
)
from exporter.version import __version__

Schema = dict[str, Any]

_SINCE_1971 = "^(197[1-9]|19[89][0-9]|[2-8][0-9]{3})-"


def openapi(*, with_token: bool = False) -> Schema:
    """The document. ``with_token`` adds the bearer token that every request then needs."""
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Inference exporter: ingest",
            "version": __version__,
            "description": "Observations, late labels and model reports for the exporter's detectors.",
        },
        "paths": {
            "/v1/observations": {
                "post": _operation(
                    "Post observations",
                    "One observation, a list, or a list under `observations`; or CloudEvents as KServe's "
                    "logger sends them. All or none are valid. With an `Idempotency-Key`, a repeated "
                    "request goes on where the first one was left.",
                    _one_or_many("Observation", "observations"),
                    "202",
                    {"model": "food11", "predicted_class": "soup", "confidence": 0.93, "request_id": "r-17"},
                )
            },
            "/v1/labels": {
                "post": _operation(
                    "Post late labels",
                    "Joined to observations by model and request id, within a bounded window; the same "
                    "label may be sent again.",
                    _one_or_many("Label", "labels"),
                    "202",
                    {"model": "food11", "request_id": "r-17", "label": "soup"},
                )
            },
            "/metrics": {
                "post": _operation(
                    "Post a model's report",
                    "Predictions of one model with the labels known by then; rows are applied once by "
                    "record_id.",
                    {"$ref": "#/components/schemas/Report"},
                    "200",
                    {
                        "model_id": "churn",
                        "model_type": "classifier",
                        "last_training_time": "2026-01-31T00:00:00Z",
                        "predictions": [
                            {
                                "prediction_time": "2026-02-01T09:30:00Z",
                                "record_id": "c-1001",
                                "prediction": "stays",
                                "prediction_probability": 0.81,
                                "ground_truth_label": "stays",
                            }
                        ],
                    },
                )
            },
        },
        "components": {"schemas": _schemas()},
    }
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(summary: str, description: str, schema: Schema, success: str, example: Schema) -> Schema:
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    accepted = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}}}
    return {
        "summary": summary,
        "description": description,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        },
        "responses": {
            success: {"description": "Taken in.", **accepted},
            "400": {"description": "Not JSON.", **error},
            "401": {"description": "The bearer token is missing or wrong.", **error},
            "413": {"description": "The body, or what it decodes to, is too large.", **error},
            "415": {"description": "The content encoding cannot be undone.", **error},
            "422": {"description": "A field breaks a rule; `field` names it.", **error},
            "429": {
                "description": "The queue is full; `accepted` items were taken, send the rest later.",
                "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
                **error,
            },
        },
    }


def _one_or_many(name: str, key: str) -> Schema:
    one = {"$ref": f"#/components/schemas/{name}"}
    many = {"type": "array", "items": one, "maxItems": MAX_ITEMS}
    wrapped = {
        "type": "object",
        "properties": {key: many},
        "required": [key],
        "additionalProperties": False,
    }
    return {"anyOf": [one, many, wrapped]}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    """An object; what is not required may also be null."""
    return {
        "type": "object",
        "properties": {
            name: schema if name in required else {"anyOf": [schema, {"type": "null"}]}
            for name, schema in properties.items()
        },
        "required": list(required),
        "additionalProperties": False,
    }


def _text(limit: int) -> Schema:
    return {
        "anyOf": [
            {"type": "string", "minLength": 1, "maxLength": limit},
            {"type": "integer", "minimum": -MAX_WHOLE, "maximum": MAX_WHOLE},
        ]
    }


def _report(
    model: Schema, model_type: str, moment: Schema, identifier: Schema, answer: Schema, shared: Schema
) -> Schema:
    row = _object(
        ("prediction_time", "record_id", "prediction"),
        prediction_time=moment,
        record_id=identifier,
        prediction=answer,
        prediction_probability={"type": "number", "minimum": 0, "maximum": 1},
        ground_truth_label=answer,
        **shared,
    )
    return _object(
        ("model_id", "model_type", "last_training_time", "predictions"),
        model_id=model,
        model_type={"const": model_type},
        last_training_time=moment,
        predictions={"type": "array", "items": row, "maxItems": MAX_ITEMS},
    )


def _schemas() -> Schema:
    number = {"type": "number"}
    single = {"type": "number", "minimum": -LARGEST_SINGLE, "maximum": LARGEST_SINGLE}
    moment = {
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": 253402300799},
            {"type": "string", "format": "date-time", "pattern": _SINCE_1971},
        ],
        "description": "Seconds since 1970, or an ISO 8601 date and time, in UTC unless it says otherwise.",
    }
    class_name = {"type": ["string", "number", "boolean"], "maxLength": MAX_CLASS_CHARACTERS}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    shared: Schema = {
        "embedding": {"type": "array", "items": single, "minItems": 1, "maxItems": MAX_EMBEDDING},
        "features": {
            "anyOf": [
                {"type": "array", "items": number, "minItems": 1, "maxItems": MAX_FEATURES},
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": MAX_FEATURES,
                    "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
                },
            ]
        },
        "latency_seconds": {"type": "number", "minimum": 0},
    }
    identifier = _text(MAX_REQUEST_ID_CHARACTERS)
    model = _text(MAX_MODEL_CHARACTERS)
    return {
        "Observation": {
            **_object(
                (),
                model=model,
                timestamp=moment,
                predicted_class=class_name,
                confidence=probability,
                value=number,
                request_id=identifier,
                **shared,
            ),
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("predicted_class", "confidence", "value", "embedding", "features")
            ],
        },
        "Label": _object(
            ("request_id", "label"), model=model, request_id=identifier, label=class_name, timestamp=moment
        ),
        "Report": {
            "anyOf": [
                {"$ref": "#/components/schemas/ClassifierReport"},
                {"$ref": "#/components/schemas/RegressionReport"},
            ]
        },
        "ClassifierReport": _report(model, "classifier", moment, identifier, class_name, shared),
        "RegressionReport": _report(model, "regression", moment, identifier, number, shared),
        "Accepted": {
            "type": "object",
            "properties": {"accepted": {"type": "integer"}, "duplicates": {"type": "integer"}},
            "required": ["accepted"],
        },
        "Error": {
            "type": "object",
            "properties": {
                "error": {"type": "string"},
                "field": {"type": "string", "description": "Path of the field at fault; empty for the body."},
                "accepted": {"type": "integer"},
            },
            "required": ["error"],
        },
    }

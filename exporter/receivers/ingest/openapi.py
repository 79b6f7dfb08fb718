"""The ingest API's OpenAPI 3.1 document, generated from the models that its documents are held to."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import TypeAdapter

from exporter.receivers.ingest.documents import LABELS, OBSERVATIONS, REPORT, Accepted, Refused
from exporter.version import __version__

Schema = dict[str, Any]

_REFUSALS = {
    "400": "Not JSON.",
    "401": "The bearer token is missing or wrong.",
    "403": "A web page sent it, and there is no token that would guard against that.",
    "408": "The body took too long to come.",
    "413": "The body, or what it decodes to, is too large.",
    "415": "The content type is none of those that are taken, or the content encoding cannot be undone.",
    "422": "A field breaks a rule; `field` names it.",
    "429": "The queue is full, or too many bodies came at once; `accepted` were taken, send the rest later.",
}


class _Operation(NamedTuple):
    summary: str
    description: str
    document: TypeAdapter[Any]
    success: str
    example: Schema


_OPERATIONS = {
    "/v1/observations": _Operation(
        "Post observations",
        "One observation, a list, or a list under `observations`; or CloudEvents as KServe's logger sends "
        "them. All or none are valid. With an `Idempotency-Key`, a repeated request goes on where the first "
        "one was left.",
        OBSERVATIONS,
        "202",
        {"model": "food11", "predicted_class": "soup", "confidence": 0.93, "request_id": "r-17"},
    ),
    "/v1/labels": _Operation(
        "Post late labels",
        "Joined to observations by model and request id, within a bounded window; the same label may be "
        "sent again.",
        LABELS,
        "202",
        {"model": "food11", "request_id": "r-17", "label": "soup"},
    ),
    "/metrics": _Operation(
        "Post a model's report",
        "Predictions of one model with the labels known by then; rows are applied once by record_id.",
        REPORT,
        "200",
        {
            "model_id": "churn",
            "model_type": "classifier",
            "last_training_time": "2026-01-31T00:00:00Z",
            "predictions": [{"prediction_time": 1769938200, "record_id": "c-1001", "prediction": "stays"}],
        },
    ),
}


def openapi(*, with_token: bool = False) -> Schema:
    """The document. ``with_token`` adds the bearer token that every request then needs."""
    adapters: dict[str, TypeAdapter[Any]] = {
        "accepted": TypeAdapter(Accepted),
        "refused": TypeAdapter(Refused),
        **{path: operation.document for path, operation in _OPERATIONS.items()},
    }
    schemas, definitions = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()],
        ref_template="#/components/schemas/{model}",
    )
    content = {name: {"application/json": {"schema": schemas[name, "validation"]}} for name in adapters}
    refusals: Schema = {
        status: {"description": text, "content": content["refused"]} for status, text in _REFUSALS.items()
    }
    refusals["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    paths: Schema = {}
    for path, operation in _OPERATIONS.items():
        content[path]["application/json"]["example"] = operation.example
        accepted = {"description": "Taken in.", "content": content["accepted"]}
        paths[path] = {
            "post": {
                "summary": operation.summary,
                "description": operation.description,
                "requestBody": {"required": True, "content": content[path]},
                "responses": {operation.success: accepted, **refusals},
            }
        }
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Inference exporter: ingest",
            "version": __version__,
            "description": "Observations, late labels and model reports for the exporter's detectors.",
        },
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document

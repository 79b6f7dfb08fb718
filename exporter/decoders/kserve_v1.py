"""KServe's V1 protocol and TensorFlow Serving's REST API, which it grew out of.

Source: TensorFlow Serving's RESTful API (predict in row and column format, classify, regress) and
KServe's V1 data plane. MLflow's scoring server gives the same responses.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from exporter.config.capture import Numbers
from exporter.decoders.base import Reading, as_object, response_json, with_request_id
from exporter.decoders.features import add_request, rows_asked, transposed
from exporter.decoders.items import item_reading, item_readings
from exporter.decoders.vectors import Context, numeric
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange


def is_kserve_v1(document: dict[str, Any]) -> bool:
    """Whether a response bears the protocol's mark: a list of predictions."""
    return isinstance(document.get("predictions"), list)


def read_kserve_v1(exchange: Exchange, numbers: Numbers = "auto") -> list[Reading]:
    """One reading for each prediction.

    Whole numbers, text and booleans are classes, floats are values, vectors that are distributions
    give class and confidence, other vectors are embeddings, and objects are read by their usual names.
    ``numbers`` overrides the first sentence for numbers and vectors.
    """
    return read_document(as_object(response_json(exchange), "response"), exchange, numbers)


def read_document(document: dict[str, Any], exchange: Exchange, numbers: Numbers = "auto") -> list[Reading]:
    """As :func:`read_kserve_v1`, for a response that is parsed already."""
    predictions = _predictions(document)
    if len(predictions) == 1 and numbers == "auto":
        readings = [item_reading(predictions[0])]
    else:
        readings = item_readings(predictions, Context(numbers, partial(rows_asked, exchange)))
    if not any(readings):
        raise PayloadError("no_prediction", "no prediction of the response says a class, number or vector")
    add_request(readings, exchange)
    return with_request_id(readings, exchange, document.get("id"))


def _predictions(document: dict[str, Any]) -> list[Any]:
    predictions, outputs, result = (document.get(name) for name in ("predictions", "outputs", "result"))
    if isinstance(predictions, list):
        return predictions
    if isinstance(outputs, list):
        return outputs
    if isinstance(outputs, dict):
        return transposed(outputs)
    if isinstance(result, list):
        return [_ranked(item) if isinstance(item, list) else item for item in result]
    raise PayloadError("no_prediction", "the response has neither predictions nor outputs nor result")


def _ranked(pairs: list[Any]) -> Any:
    """The best of an instance's (label, score) pairs."""
    if pairs and all(isinstance(pair, list) and len(pair) == 2 and numeric(pair[1:]) for pair in pairs):
        label, score = max(pairs, key=lambda pair: pair[1])
        return {"predicted_class": label, "confidence": score}
    return pairs

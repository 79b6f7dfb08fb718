"""The preset ``auto``: the protocol whose marks an answer bears, else the usual names of plain JSON."""

from __future__ import annotations

from exporter.decoders import kserve_v1, open_inference_v2, openai
from exporter.decoders.plain import REQUEST_ID_NAMES, fields, instances
from exporter.decoders.registry import Reading, parse_json, request_json, response_bytes
from exporter.decoders.rows import add_row, is_distribution, marks, may_hold, with_request_id
from exporter.decoders.tensors import LENGTH_HEADER
from exporter.decoders.torchserve import class_probabilities
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange

REQUEST_FEATURES = ("features", "instances", "inputs", "data")
_JSON = b"application/json"
_REQUEST_MARKS = marks(*REQUEST_FEATURES)


def read_auto(exchange: Exchange) -> list[Reading]:
    """Read an exchange by the protocol that its answer belongs to.

    Only unmistakable marks count: the outputs of Open Inference V2 or its binary extension's header,
    the predictions of KServe V1, the object kinds and event streams of OpenAI's API. Anything else is
    plain JSON, where class, confidence, value, embedding and features are found by their usual names,
    or a mapping from class to probability that sums to 1.
    """
    headers = dict(exchange.response_headers[::-1])  # the first of a name; a scan for each would cost more
    if LENGTH_HEADER in headers:
        return open_inference_v2.read_open_inference_v2(exchange)
    body = exchange.response_body
    if exchange.response_truncated or b"content-encoding" in headers:
        body = response_bytes(exchange)
    content_type = headers.get(b"content-type")
    if content_type != _JSON and openai.is_event_stream(content_type):
        return openai.read_stream(body, exchange)
    document = parse_json(body, "answer")
    request_id = None
    if isinstance(document, dict):
        if "outputs" in document and open_inference_v2.is_open_inference_v2(document):
            return open_inference_v2.read_document(document, b"", exchange)
        if "predictions" in document and kserve_v1.is_kserve_v1(document):
            return kserve_v1.read_document(document, exchange)
        if "object" in document and openai.is_openai(document):
            return openai.read_document(document, exchange)
        for name in REQUEST_ID_NAMES:
            if name in document:
                request_id = document[name]
                break
    reading = fields(document) if isinstance(document, dict) else None
    readings = [reading] if reading else instances(document)
    if not readings and isinstance(document, dict) and len(document) > 1:
        reading = class_probabilities(document)
        if reading and is_distribution(document.values()):
            readings = [reading]
    if not readings:
        raise PayloadError("no_prediction", "the answer has none of the usual names of a prediction")
    if "request_id" not in readings[0]:
        with_request_id(readings, exchange, request_id)
    if may_hold(exchange, _REQUEST_MARKS):
        _add_features(readings, exchange)
    return readings


def _add_features(readings: list[Reading], exchange: Exchange) -> None:
    """Features from the request, and, where the answer has no embedding, numeric ones as embedding.

    To be called where the body may hold a usual name, so that images in base64 are not parsed for nothing.
    """
    try:
        document = request_json(exchange)
    except PayloadError:
        return
    if not isinstance(document, dict):
        return
    features = next((document[name] for name in REQUEST_FEATURES if document.get(name) is not None), None)
    if not isinstance(features, (list, dict)) or not features:
        return
    nested = isinstance(features, list) and isinstance(features[0], (list, dict))
    rows = [features] if len(readings) == 1 and not nested else features
    if isinstance(rows, list) and len(rows) == len(readings):
        for reading, row in zip(readings, rows, strict=True):
            add_row(reading, row)

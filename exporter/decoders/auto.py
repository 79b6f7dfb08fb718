"""The decoder ``auto``: the protocol whose marks a response bears, else the usual names of plain JSON."""

from __future__ import annotations

from exporter.decoders import kserve_v1, open_inference_v2, openai
from exporter.decoders.base import Reading, parse_json, response_bytes, with_request_id
from exporter.decoders.features import add_request
from exporter.decoders.items import REQUEST_ID_NAMES, distribution, fields, instances
from exporter.decoders.tensors import LENGTH_HEADER
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange


def read_auto(exchange: Exchange) -> list[Reading]:
    """Read an exchange by the protocol that its response belongs to.

    Only unmistakable marks count: the outputs of Open Inference V2 or its binary extension's header,
    the predictions of KServe V1, the object types and event streams of OpenAI's API. Anything else is
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
    if content_type != b"application/json" and openai.is_event_stream(content_type):
        return openai.read_stream(body, exchange)
    document = parse_json(body, "response")
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
        reading = fields(document)
        readings = [reading] if reading else instances(document)
        if not readings and (reading := distribution(document)):
            readings = [reading]
    else:
        readings = instances(document)
    if not readings:
        raise PayloadError("no_prediction", "the response has none of the usual names of a prediction")
    if "request_id" not in readings[0]:
        with_request_id(readings, exchange, request_id)
    add_request(readings, exchange)
    return readings

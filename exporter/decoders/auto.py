"""The decoder ``auto``: the protocol whose marks a response bears, else the usual names of plain JSON.

The protocols are asked in the order of ``CLAIMS``, and the first one that claims a response reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exporter.config.capture import Numbers
from exporter.decoders import kserve_v1, open_inference_v2, openai, plain, seldon, text_generation
from exporter.decoders.base import Reading, parse_json, response_bytes
from exporter.decoders.tensors import LENGTH_HEADER
from exporter.http.exchange import Exchange


class Protocol(NamedTuple):
    """A protocol that has marks: its decoder's name, whether an object bears them, how it is read then."""

    name: str
    claims: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any], Exchange, Numbers], list[Reading]]


CLAIMS = (
    Protocol(
        "open-inference-v2",
        open_inference_v2.is_open_inference_v2,
        lambda document, exchange, _: open_inference_v2.read_document(document, b"", exchange),
    ),
    Protocol("kserve-v1", kserve_v1.is_kserve_v1, kserve_v1.read_document),
    Protocol(
        "openai", openai.is_openai, lambda document, exchange, _: openai.read_document(document, exchange)
    ),
    Protocol(
        "text-generation",
        text_generation.is_text_generation,
        lambda document, exchange, _: text_generation.read_document(document, exchange),
    ),
    Protocol(
        "seldon", seldon.is_seldon, lambda document, exchange, _: seldon.read_document(document, exchange)
    ),
)
"""In the order in which they are asked: the first that claims a response reads it."""

# What is left where an object has neither outputs nor predictions, as most have.
_WITHOUT_LISTS = tuple(each for each in CLAIMS if each.name not in ("open-inference-v2", "kserve-v1"))

# An object that has none of these members bears nobody's marks.
_MARKS = frozenset(
    (
        *("outputs", "predictions", "object", "data", "stop_reason", "stopReason", "candidates", "done"),
        *("meta_info", "stop", "details", "results"),
    )
)


def read_auto(exchange: Exchange, numbers: Numbers = "auto") -> list[Reading]:
    """Read an exchange by the protocol that its response belongs to, and note which in ``exchange.read_as``.

    Only unmistakable marks count: the outputs of Open Inference V2 or its binary extension's header,
    the predictions of KServe V1, the object types and event streams of OpenAI's API, what ends a text of
    another text-generation API, the data of Seldon's. Anything else is plain JSON, where class, confidence,
    value, embedding and features are found by their usual names. ``numbers`` says what a list of numbers
    without a name is.
    """
    headers = dict(exchange.response_headers[::-1])  # the first of a name; a scan for each would cost more
    if LENGTH_HEADER in headers:
        exchange.read_as = "open-inference-v2"
        return open_inference_v2.read_open_inference_v2(exchange)
    body = exchange.response_body
    if exchange.response_truncated or b"content-encoding" in headers:
        body = response_bytes(exchange)
    content_type = headers.get(b"content-type")
    if content_type != b"application/json" and text_generation.is_stream(content_type):
        return _read_stream(body, exchange)
    document = parse_json(body, "response")
    if isinstance(document, dict):
        if not _MARKS.isdisjoint(document):
            listed = "outputs" in document or "predictions" in document
            for name, claims, read in CLAIMS if listed else _WITHOUT_LISTS:
                if claims(document):
                    exchange.read_as = name
                    return read(document, exchange, numbers)
    elif isinstance(document, list) and document and text_generation.is_text_generation(document[0]):
        exchange.read_as = "text-generation"
        return text_generation.read_document(document, exchange)
    exchange.read_as = "plain"
    return plain.read_document(document, exchange, numbers)


def _read_stream(body: bytes, exchange: Exchange) -> list[Reading]:
    events = list(openai.events(body))
    if any(text_generation.is_event(event) for event in events):
        exchange.read_as = "text-generation"
        return text_generation.read_events(events, exchange)
    exchange.read_as = "openai"
    return openai.read_events(events, exchange)

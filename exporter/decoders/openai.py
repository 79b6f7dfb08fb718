"""OpenAI-compatible services: chat and text completions, streamed or not, and embeddings.

A choice becomes a reading: its finish reason is the class, the mean probability of its tokens (where
the response carries logprobs) the confidence, and the token counts are the features, with the number
of completion tokens as the value. Prompts and texts are never read.

Source: the API reference of the OpenAI platform; server-sent events as in the HTML standard.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from exporter.decoders.base import Reading, as_object, limited, parse_json, response_bytes, with_request_id
from exporter.errors import PayloadError, unreadable
from exporter.http.exchange import Exchange, header

_COMPLETIONS = ("chat.completion", "text_completion")
_CHUNKS = ("chat.completion.chunk", "text_completion")
_TOKEN_COUNTS = ("prompt_tokens", "completion_tokens")


def is_openai(document: Any) -> bool:
    """Whether a response bears the API's mark: the type of object that it is."""
    if document.get("object") in _COMPLETIONS:
        return isinstance(document.get("choices"), list)
    data = document.get("data") if document.get("object") == "list" else None
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and "embedding" in data[0]


def is_event_stream(content_type: bytes | None) -> bool:
    """Whether a response of this content type is a stream of server-sent events."""
    return content_type is not None and content_type[:17].lower() == b"text/event-stream"


def read_openai(exchange: Exchange) -> list[Reading]:
    """One reading for each choice, or for each embedding."""
    body = response_bytes(exchange)
    if is_event_stream(header(exchange.response_headers, b"content-type")):
        return read_stream(body, exchange)
    document = as_object(parse_json(body, "response"), "response")
    if not is_openai(document):
        raise PayloadError("no_prediction", "the response is neither a completion nor a list of embeddings")
    return read_document(document, exchange)


def read_document(document: dict[str, Any], exchange: Exchange) -> list[Reading]:
    """As :func:`read_openai`, for a response that is parsed already and bears the mark."""
    if document.get("object") == "list":
        readings = [_embedding(item) for item in document["data"]]
    else:
        readings = _choices([[choice] for choice in document["choices"]], document.get("usage"))
    return with_request_id(readings, exchange, document.get("id"))


def read_stream(body: bytes, exchange: Exchange) -> list[Reading]:
    """The choices of a streamed response, put together from its chunks."""
    choices: dict[int, list[Any]] = {}
    usage: Any = None
    request_id: Any = None
    for chunk in _chunks(body):
        request_id, usage = request_id or chunk.get("id"), chunk.get("usage") or usage
        pieces = chunk.get("choices")
        for position, piece in enumerate(pieces if isinstance(pieces, list) else ()):
            index = piece.get("index") if isinstance(piece, dict) else None
            choices.setdefault(index if type(index) is int else position, []).append(piece)
    readings = _choices([choices[index] for index in sorted(choices)], usage)
    return with_request_id(readings, exchange, request_id)


def _chunks(body: bytes) -> Iterator[dict[str, Any]]:
    """The chunks of a completion in an event stream; the closing ``[DONE]`` and comments are none."""
    for line in body.splitlines():
        if not line.startswith(b"data:"):
            continue
        try:
            event = orjson.loads(line[5:])
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict) and event.get("object") in _CHUNKS:
            yield event


def _choices(choices: list[list[Any]], usage: Any) -> list[Reading]:
    """The readings of choices, each complete in one piece or in several chunks."""
    limited(len(choices))
    readings = [_choice(pieces) for pieces in choices]
    if not any(readings):
        raise PayloadError("no_prediction", "no choice of the response has a finish reason or logprobs")
    usage = usage if isinstance(usage, dict) else {}
    if counts := {name: usage[name] for name in _TOKEN_COUNTS if type(usage.get(name)) is int}:
        readings = [{**reading, "features": counts} for reading in readings]
    if len(readings) == 1 and "completion_tokens" in counts:
        readings[0]["value"] = counts["completion_tokens"]
    return readings


def _choice(pieces: list[Any]) -> Reading:
    reading: Reading = {}
    probability_sum, tokens = 0.0, 0
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        reason = piece.get("finish_reason")
        if isinstance(reason, str):
            reading["predicted_class"] = reason
        for logprob in _logprobs(piece.get("logprobs")):
            if isinstance(logprob, float | int) and logprob <= 0.0:
                probability_sum += math.exp(logprob)
                tokens += 1
    if tokens:
        reading["confidence"] = min(1.0, probability_sum / tokens)
    return reading


def _logprobs(logprobs: Any) -> list[Any]:
    """Log probabilities of the tokens: as chat completions give them, or as text completions do."""
    if not isinstance(logprobs, dict):
        return []
    content = logprobs.get("content")
    if isinstance(content, list):
        return [token.get("logprob") for token in content if isinstance(token, dict)]
    tokens = logprobs.get("token_logprobs")
    return tokens if isinstance(tokens, list) else []


def _embedding(item: Any) -> Reading:
    """One embedding: a list of floats, or little-endian float32 in base64."""
    vector = item.get("embedding") if isinstance(item, dict) else None
    if isinstance(vector, str):
        try:
            return {"embedding": np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")}
        except ValueError:
            raise unreadable("an embedding is not float32 numbers in base64") from None
    if not isinstance(vector, list):
        raise unreadable("an item of the list has no embedding")
    return {"embedding": vector}

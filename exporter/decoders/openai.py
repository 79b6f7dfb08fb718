"""OpenAI-compatible services: completions, responses, embeddings, moderations, and what vLLM adds to them.

A choice becomes a reading: its finish reason is the class, the mean probability of its tokens (where
the response carries logprobs) the confidence, and the token counts are the features, with the number
of completion tokens as the value. Prompts and texts are never read.

Source: the API reference of the OpenAI platform; vLLM's and Voyage's of their lists; server-sent events as in
the HTML standard.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from exporter.decoders.base import Reading, as_object, limited, parse_json, response_bytes, with_request_id
from exporter.decoders.vectors import from_probabilities
from exporter.errors import PayloadError, unreadable
from exporter.http.exchange import Exchange, header

_COMPLETIONS = ("chat.completion", "text_completion")
_CHUNKS = ("chat.completion.chunk", "text_completion")
_TOKEN_COUNTS = ("prompt_tokens", "completion_tokens")
_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")
# What an item of a list has: of embeddings, poolings, classifications, scores and rerankings.
_ITEMS = ("embedding", "data", "probs", "score", "relevance_score")


def is_openai(document: dict[str, Any]) -> bool:
    """Whether a response bears the API's mark: the type of object that it is."""
    kind = document.get("object")
    if kind is None:
        return _is_moderation(document)
    if kind in _COMPLETIONS:
        return isinstance(document.get("choices"), list)
    if kind == "response":
        return isinstance(document.get("output"), list)
    data = document.get("data") if kind == "list" else None
    first = data[0] if isinstance(data, list) and data else None
    return isinstance(first, dict) and any(name in first for name in _ITEMS)


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
        raise PayloadError(
            "no_prediction", "the response is neither a completion nor a list of the OpenAI API"
        )
    return read_document(document, exchange)


def read_document(document: dict[str, Any], exchange: Exchange) -> list[Reading]:
    """As :func:`read_openai`, for a response that is parsed already and bears the mark."""
    if document.get("object") == "list":
        limited(len(document["data"]))
        readings = [_item(item) for item in document["data"]]
        if not any(readings):
            raise PayloadError("no_prediction", "no item of the list has a label, a score or one vector")
    elif document.get("object") is None:
        limited(len(document["results"]))
        readings = [_moderation(item) for item in document["results"]]
    elif document.get("object") == "response":
        readings = [_response(document)]
    else:
        readings = _choices([[choice] for choice in document["choices"]], document.get("usage"))
    return with_request_id(readings, exchange, document.get("id"))


def read_stream(body: bytes, exchange: Exchange) -> list[Reading]:
    """The choices of a streamed response, put together from its chunks."""
    return read_events(list(events(body)), exchange)


def read_events(chunks: list[dict[str, Any]], exchange: Exchange) -> list[Reading]:
    """As :func:`read_stream`, for a stream that is taken apart already."""
    choices: dict[int, list[Any]] = {}
    usage: Any = None
    request_id: Any = None
    for chunk in chunks:
        if isinstance(chunk.get("type"), str) and isinstance(response := chunk.get("response"), dict):
            if chunk["type"] in _LAST_EVENTS:
                return with_request_id([_response(response)], exchange, response.get("id"))
            continue
        if chunk.get("object") not in _CHUNKS:
            continue
        request_id, usage = request_id or chunk.get("id"), chunk.get("usage") or usage
        pieces = chunk.get("choices")
        for position, piece in enumerate(pieces if isinstance(pieces, list) else ()):
            index = piece.get("index") if isinstance(piece, dict) else None
            choices.setdefault(index if type(index) is int else position, []).append(piece)
    readings = _choices([choices[index] for index in sorted(choices)], usage)
    return with_request_id(readings, exchange, request_id)


def events(body: bytes) -> Iterator[dict[str, Any]]:
    """The objects in an event stream, or one to a line; the closing ``[DONE]`` and comments are none."""
    for line in body.splitlines():
        try:
            event = orjson.loads(line[5:] if line.startswith(b"data:") else line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict):
            yield event


def _response(document: dict[str, Any]) -> Reading:
    """A response of the Responses API: how it ended is its class."""
    details = document.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    reading: Reading = {}
    if isinstance(reason := reason or document.get("status"), str):
        reading["predicted_class"] = reason
    output = document.get("output")
    parts = [
        part
        for item in (output if isinstance(output, list) else ())
        if isinstance(item, dict) and isinstance(item.get("content"), list)
        for part in item["content"]
        if isinstance(part, dict)
    ]
    add_probability(reading, [each for part in parts for each in token_logprobs(part.get("logprobs"))])
    add_counts(reading, document.get("usage"), ("input_tokens", "output_tokens"))
    if not reading:
        raise PayloadError("no_prediction", "the response has neither a status nor a usage")
    return reading


def _choices(choices: list[list[Any]], usage: Any) -> list[Reading]:
    """The readings of choices, each complete in one piece or in several chunks."""
    limited(len(choices))
    readings = [_choice(pieces) for pieces in choices]
    if not any(readings):
        raise PayloadError("no_prediction", "no choice of the response has a finish reason or logprobs")
    if len(readings) == 1:
        add_counts(readings[0], usage, _TOKEN_COUNTS)
    elif counts := token_counts(usage, _TOKEN_COUNTS):
        readings = [{**reading, "features": counts} for reading in readings]
    return readings


def _choice(pieces: list[Any]) -> Reading:
    reading: Reading = {}
    logprobs: list[Any] = []
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        reason = piece.get("finish_reason")
        if isinstance(reason, str):
            reading["predicted_class"] = reason
        if piece.get("logprobs") is not None:
            logprobs += _logprobs(piece["logprobs"])
    add_probability(reading, logprobs)
    return reading


def add_probability(reading: Reading, logprobs: list[Any]) -> None:
    """Add the mean probability of a text's tokens as its confidence, where log probabilities are known."""
    probabilities = [math.exp(each) for each in logprobs if isinstance(each, float | int) and each <= 0.0]
    if probabilities:
        reading["confidence"] = min(1.0, sum(probabilities) / len(probabilities))


def token_counts(usage: Any, names: tuple[str, ...]) -> dict[str, int]:
    """Those of the named counts that a usage has."""
    usage = usage if isinstance(usage, dict) else {}
    return {name: usage[name] for name in names if type(usage.get(name)) is int}


def add_counts(reading: Reading, usage: Any, names: tuple[str, str]) -> None:
    """Add the counts of tokens read and written as features, the latter also as the value."""
    if counts := token_counts(usage, names):
        reading["features"] = counts
        if names[1] in counts:
            reading["value"] = counts[names[1]]


def _logprobs(logprobs: Any) -> list[Any]:
    """Log probabilities of the tokens: as chat completions give them, or as text completions do."""
    if not isinstance(logprobs, dict):
        return []
    if isinstance(logprobs.get("content"), list):
        return token_logprobs(logprobs["content"])
    tokens = logprobs.get("token_logprobs")
    return tokens if isinstance(tokens, list) else []


def token_logprobs(tokens: Any) -> list[Any]:
    """The log probabilities of a list of tokens."""
    return (
        [token.get("logprob") for token in tokens if isinstance(token, dict)]
        if isinstance(tokens, list)
        else []
    )


def _item(item: Any) -> Reading:
    """One item of a list: an embedding or a pooled vector, a class, or a score."""
    if not isinstance(item, dict):
        raise unreadable("an item of the list is no object")
    if "embedding" in item or "data" in item:
        return _embedding(item.get("embedding", item.get("data")))
    probabilities = item.get("probs")
    if "label" in item or probabilities is not None:
        reading = from_probabilities(probabilities)
        return {**reading, "predicted_class": item["label"]} if item.get("label") is not None else reading
    score = item.get("score", item.get("relevance_score"))
    return {"value": score} if isinstance(score, float | int) else {}


def _is_moderation(document: dict[str, Any]) -> bool:
    results = document.get("results")
    first = results[0] if isinstance(results, list) and results else None
    return isinstance(first, dict) and isinstance(first.get("category_scores"), dict)


def _moderation(item: Any) -> Reading:
    """What was found of one input: flagged or not is the class, the highest of the scores the value."""
    if not isinstance(item, dict) or not isinstance(item.get("category_scores"), dict):
        raise unreadable("an item of the results has no category_scores")
    flagged, categories = item.get("flagged"), item.get("categories")
    if flagged is None and isinstance(categories, dict):
        flagged = any(value is True for value in categories.values())
    scores = [score for score in item["category_scores"].values() if type(score) in (int, float)]
    reading: Reading = {"value": max(scores)} if scores else {}
    return {**reading, "predicted_class": flagged} if isinstance(flagged, bool) else reading


def _embedding(vector: Any) -> Reading:
    """One embedding: a list of floats, or little-endian float32 in base64; empty for one of each token."""
    if isinstance(vector, str):
        try:
            return {"embedding": np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")}
        except ValueError:
            raise unreadable("an embedding is not float32 numbers in base64") from None
    if not isinstance(vector, list):
        raise unreadable("an item of the list has no embedding")
    if vector and isinstance(vector[0], list):
        return {"embedding": vector[0]} if len(vector) == 1 else {}
    return {"embedding": vector}

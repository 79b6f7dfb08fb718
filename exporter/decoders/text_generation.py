"""Text generation by other APIs than OpenAI's: Anthropic, Bedrock, Gemini, Ollama, SGLang, llama.cpp and TGI.

As with a completion of OpenAI's API, streamed or not, why a text ended is its class, the mean probability of
its tokens (where the response carries log probabilities) its confidence, and the token counts are the
features, with the number of written tokens as the value. Prompts and texts are never read.

Source: the API references of Anthropic (Messages), Amazon Bedrock (Converse), Google (generateContent),
Ollama (generate and chat), SGLang (generate), llama.cpp's server (completion), Hugging Face's TGI (generate).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exporter.decoders.base import Reading, limited, parse_json, response_bytes, with_request_id
from exporter.decoders.openai import add_counts, add_probability, events, is_event_stream, token_logprobs
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

_LINES = b"application/x-ndjson"


class _Api(NamedTuple):
    """What one API calls the things that are read."""

    mark: Callable[[dict[str, Any]], bool]
    reason: Callable[[dict[str, Any]], Any]
    usage: Callable[[dict[str, Any]], Any]
    counts: tuple[str, str]
    logprobs: Callable[[dict[str, Any]], list[Any]] = lambda _: []
    request_id: Callable[[dict[str, Any]], Any] = lambda document: document.get("id")


def _of(document: Any, *names: str) -> Any:
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _first_candidate(document: dict[str, Any]) -> Any:
    candidates = document.get("candidates")
    return candidates[0] if isinstance(candidates, list) and candidates else None


def _sglang_reason(document: dict[str, Any]) -> Any:
    reason = _of(document, "meta_info", "finish_reason")
    return _of(reason, "type") if isinstance(reason, dict) else reason


def _sglang_logprobs(document: dict[str, Any]) -> list[Any]:
    tokens = _of(document, "meta_info", "output_token_logprobs")
    return [each[0] for each in tokens if isinstance(each, list) and each] if isinstance(tokens, list) else []


_APIS = (
    _Api(  # Anthropic, Messages
        lambda document: document.get("type") == "message" and "stop_reason" in document,
        lambda document: document["stop_reason"],
        lambda document: document.get("usage"),
        ("input_tokens", "output_tokens"),
    ),
    _Api(  # Amazon Bedrock, Converse
        lambda document: "stopReason" in document and isinstance(document.get("output"), dict),
        lambda document: document["stopReason"],
        lambda document: document.get("usage"),
        ("inputTokens", "outputTokens"),
    ),
    _Api(  # Gemini and Vertex AI, generateContent
        lambda document: (
            isinstance(_first_candidate(document), dict)
            and ("usageMetadata" in document or "finishReason" in document["candidates"][0])
        ),
        lambda document: document["candidates"][0].get("finishReason"),
        lambda document: document.get("usageMetadata"),
        ("promptTokenCount", "candidatesTokenCount"),
        request_id=lambda document: document.get("responseId"),
    ),
    _Api(  # Ollama, generate and chat
        lambda document: document.get("done") is True and "created_at" in document,
        lambda document: document.get("done_reason"),
        lambda document: document,
        ("prompt_eval_count", "eval_count"),
    ),
    _Api(  # SGLang, generate
        lambda document: isinstance(document.get("meta_info"), dict) and "text" in document,
        _sglang_reason,
        lambda document: document["meta_info"],
        ("prompt_tokens", "completion_tokens"),
        _sglang_logprobs,
        lambda document: document["meta_info"].get("id"),
    ),
    _Api(  # llama.cpp, completion
        lambda document: document.get("stop") is True and "tokens_predicted" in document,
        lambda document: document.get("stop_type"),
        lambda document: document,
        ("tokens_evaluated", "tokens_predicted"),
        lambda document: token_logprobs(document.get("completion_probabilities")),
        lambda _: None,
    ),
    _Api(  # Text generation inference, generate
        lambda document: "generated_text" in document and isinstance(document.get("details"), dict),
        lambda document: document["details"].get("finish_reason"),
        lambda document: document["details"],
        ("input_length", "generated_tokens"),
        lambda document: token_logprobs(document["details"].get("tokens")),
    ),
)


def is_text_generation(document: Any) -> bool:
    """Whether a response bears the marks of one of these APIs: how a text ended, and what goes with it."""
    return isinstance(document, dict) and _api(document) is not None


def is_stream(content_type: bytes | None) -> bool:
    """Whether a response of this content type is one of events, or of objects, one to a line."""
    return is_event_stream(content_type) or (content_type is not None and content_type.startswith(_LINES))


def is_event(event: dict[str, Any]) -> bool:
    """Whether an event of a stream is one of these APIs' and no chunk of OpenAI's."""
    kind = event.get("type")
    return kind == "message_start" or isinstance(event.get("token"), dict) or _api(event) is not None


def read_text_generation(exchange: Exchange) -> list[Reading]:
    """One reading for each text."""
    body = response_bytes(exchange)
    if is_stream(header(exchange.response_headers, b"content-type")):
        return read_events(list(events(body)), exchange)
    return read_document(parse_json(body, "response"), exchange)


def read_document(document: Any, exchange: Exchange) -> list[Reading]:
    """As :func:`read_text_generation`, for a response that is parsed already: one text, or a list of them."""
    texts = document if isinstance(document, list) else [document]
    limited(len(texts))
    readings = [_reading(text) for text in texts if isinstance(text, dict)]
    if not any(readings):
        raise PayloadError("no_prediction", "the response has none of the marks of a text-generation API")
    first = texts[0]
    api = _api(first) if isinstance(first, dict) and len(texts) == 1 else None
    return with_request_id(readings, exchange, None if api is None else api.request_id(first))


def read_events(stream: list[dict[str, Any]], exchange: Exchange) -> list[Reading]:
    """As :func:`read_text_generation`, for a stream that is taken apart already."""
    return read_document(_merged(stream), exchange)


def _merged(stream: list[dict[str, Any]]) -> dict[str, Any]:
    """What the events of a stream come to: the last one that says how it ended, with what others add."""
    last: dict[str, Any] = {}
    tokens: list[Any] = []
    for event in stream:
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), dict):
            last = {**event["message"], "type": "message"}
        elif kind == "message_delta" and last.get("type") == "message":
            delta, usage = event.get("delta"), event.get("usage")
            last |= delta if isinstance(delta, dict) else {}
            last["usage"] = {**_mapping(last.get("usage")), **_mapping(usage)}
        elif isinstance(event.get("token"), dict):
            tokens.append(event["token"])
            if isinstance(event.get("details"), dict):
                last = {**event, "details": {**event["details"], "tokens": tokens}}
        elif _api(event) is not None:
            last = event
    return last


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _api(document: dict[str, Any]) -> _Api | None:
    return next((api for api in _APIS if api.mark(document)), None)


def _reading(document: dict[str, Any]) -> Reading:
    api = _api(document)
    if api is None:
        return {}
    reading: Reading = {}
    if isinstance(reason := api.reason(document), str):
        reading["predicted_class"] = reason
    add_probability(reading, api.logprobs(document))
    add_counts(reading, api.usage(document), api.counts)
    return reading

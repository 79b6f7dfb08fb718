from __future__ import annotations

import base64
import math

import numpy as np
import orjson
import pytest

from exporter.decoders.auto import read_auto
from exporter.decoders.openai import read_openai
from exporter.errors import PayloadError

STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"),)


def chat(*choices, **more):
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": list(choices), **more}


def sse(*events):
    lines = [b": keep-alive", b""]
    for event in events:
        lines += [b"data: " + (event if isinstance(event, bytes) else orjson.dumps(event)), b""]
    return b"\r\n".join([*lines, b"data: [DONE]", b"", b""])


def chunk(index=0, *, reason=None, logprobs=None, **more):
    choice = {"index": index, "delta": {"content": "x"}, "finish_reason": reason, "logprobs": logprobs}
    return {"id": "c2", "object": "chat.completion.chunk", "choices": [choice], **more}


def content(*probabilities):
    return {"content": [{"token": "x", "logprob": math.log(p)} for p in probabilities]}


@pytest.mark.parametrize("read", [read_openai, read_auto])
def test_a_chat_completion(exchange, read):
    response = chat(
        {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop", "logprobs": content(0.5, 1.0)},
        usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    )
    (reading,) = read(exchange(response))
    assert reading["predicted_class"] == "stop"
    assert reading["confidence"] == pytest.approx(0.75)
    assert reading["features"] == {"prompt_tokens": 9, "completion_tokens": 2}
    assert reading["value"] == 2
    assert reading["request_id"] == "chatcmpl-1"


def test_several_choices(exchange):
    readings = read_auto(exchange(chat({"finish_reason": "stop"}, {"finish_reason": "length"})))
    assert [reading["predicted_class"] for reading in readings] == ["stop", "length"]
    assert [reading["request_id"] for reading in readings] == ["chatcmpl-1:0", "chatcmpl-1:1"]


def test_a_text_completion(exchange):
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [None, math.log(0.25)]}
    response = {
        "object": "text_completion",
        "choices": [{"text": "ab", "finish_reason": "length", "logprobs": logprobs}],
    }
    (reading,) = read_auto(exchange(response))
    assert (reading["predicted_class"], reading["confidence"]) == ("length", pytest.approx(0.25))


def test_a_streamed_response(exchange):
    body = sse(
        chunk(0, logprobs=content(0.5)),
        chunk(1, logprobs=content(1.0)),
        b"{not json",
        chunk(0, logprobs=content(1.0), reason="stop"),
        chunk(1, reason="length"),
        {"id": "c2", "object": "chat.completion.chunk", "choices": [], "usage": {"completion_tokens": 3}},
    )
    first, second = read_auto(exchange(body, headers=STREAM))
    assert (first["predicted_class"], first["confidence"]) == ("stop", pytest.approx(0.75))
    assert (second["predicted_class"], second["confidence"]) == ("length", pytest.approx(1.0))
    assert first["request_id"] == "c2:0"
    assert second["features"] == {"completion_tokens": 3}


def test_embeddings_as_lists_and_as_base64(exchange):
    packed = base64.b64encode(np.array([1.5, -2.0], "<f4").tobytes()).decode()
    response = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]},
            {"object": "embedding", "index": 1, "embedding": packed},
        ],
    }
    first, second = read_auto(exchange(response))
    assert first["embedding"] == [0.5, 0.25]
    np.testing.assert_array_equal(second["embedding"], [1.5, -2.0])


@pytest.mark.parametrize(
    "response",
    [
        [],
        {"object": "list", "data": [{"object": "model", "id": "m"}]},
        {"object": "list", "data": [{"embedding": "%%%"}]},
        {"object": "list", "data": [{"embedding": "AAA="}]},
        {"object": "list", "data": [{"embedding": [1.0]}, 3]},
        chat(),
        chat({"message": {"content": "unfinished"}}),
        chat(7),
    ],
)
def test_what_is_neither_is_refused(exchange, response):
    with pytest.raises(PayloadError):
        read_openai(exchange(response))


def test_a_stream_without_chunks_is_refused(exchange):
    for body in (b"", sse({"object": "other"}), b"data: [1]\n\n", b"\xff\xfe"):
        with pytest.raises(PayloadError):
            read_auto(exchange(body, headers=STREAM))

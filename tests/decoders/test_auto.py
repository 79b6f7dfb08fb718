from __future__ import annotations

import contextlib
import gzip
import json
from typing import get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import CaptureConfig
from exporter.config.capture import Payload
from exporter.decoders.auto import CLAIMS
from exporter.decoders.registry import DECODERS, make_reader
from exporter.decoders.text_generation import is_text_generation
from exporter.errors import PayloadError
from exporter.pipeline.extraction import Extractor
from tests.decoders.conftest import exchange

read_auto = make_reader(CaptureConfig())


def test_every_decoder_can_be_configured():
    assert {*get_args(Payload)} == {*DECODERS, "fields"}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"prediction": "cat", "probability": 0.5}, {"predicted_class": "cat", "confidence": 0.5}),
        ({"result": {"label": "cat", "score": 1}}, {"predicted_class": "cat", "confidence": 1}),
        ({"probabilities": [0.25, 0.75]}, {"predicted_class": 1, "confidence": 0.75}),
        ({"probabilities": {"a": 0.75, "b": 0.25}}, {"predicted_class": "a", "confidence": 0.75}),
        (
            {"labels": ["x", "y"], "scores": [0.25, 0.75]},
            {"predicted_class": "y", "confidence": 0.75},
        ),
        ({"prediction": 3.5}, {"value": 3.5}),
        ({"output": 3.5, "id": 7}, {"value": 3.5, "request_id": 7}),
        ({"embedding": [1.0, 2.0]}, {"embedding": [1.0, 2.0]}),
        (
            [{"label": "a", "score": 0.2}, {"label": "b", "score": 0.8}],
            {"predicted_class": "b", "confidence": 0.8},
        ),
        ({"cat": 0.25, "dog": 0.75}, {"predicted_class": "dog", "confidence": 0.75}),
        ({"label": "first", "prediction": "wins"}, {"predicted_class": "wins"}),
        ({"prediction": None, "label": "instead"}, {"predicted_class": "instead"}),
        ({"prediction": "cat", "probability": None}, {"predicted_class": "cat"}),
        (
            {"cat": 0.25, **{f"class {n}": 0.0 for n in range(40)}, "dog": 0.75},
            {"predicted_class": "dog", "confidence": 0.75},
        ),
    ],
)
def test_plain_responses(response, expected):
    assert read_auto(exchange(response)) == [expected]


@pytest.mark.parametrize(
    "response",
    [
        {},
        [],
        3,
        None,
        {"id": 3},
        {"temperature": 0.5, "humidity": 0.9},
        {"prediction": None},
        {"prediction": {"deep": 1}},
        {"probabilities": [[0.5], [0.5]]},
        {"outputs": [{"name": "x"}]},
        {"object": "list", "data": []},
        b"",
        b"<html>",
        b"\xff",
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 1000 + b"]" * 1000,
        b'{"result":' * 500 + b"1" + b"}" * 500,
        b'{"prediction": NaN}',
        b'{"prediction": 1e999}',
    ],
)
def test_what_says_nothing_is_a_payload_error(response):
    with pytest.raises(PayloadError):
        read_auto(exchange(response))


def test_a_batch_of_responses_takes_the_exchange_id_by_position():
    readings = read_auto(
        exchange({"id": "q", "results": [{"label": "a"}, {"label": "b"}]}, {"features": [[1.0], [2.0]]})
    )
    assert [reading["request_id"] for reading in readings] == ["q:0", "q:1"]
    assert [reading["embedding"] for reading in readings] == [[1.0], [2.0]]


def test_features_come_out_of_an_encoded_request():
    (reading,) = read_auto(
        exchange(
            {"prediction": "a"},
            gzip.compress(b'{"features": [1.0, 2.0]}'),
            request_headers=((b"content-encoding", b"gzip"),),
        )
    )
    assert reading["embedding"] == [1.0, 2.0]


def test_mapped_columns_are_a_batch():
    config = CaptureConfig.model_validate(
        {
            "payload": "fields",
            "fields": {
                "predicted_class": "jmespath:rows[*].label",
                "confidence": "jmespath:rows[*].p",
                "embedding": "request.x",
                "request_id": "request-header:x-id",
            },
        }
    )
    read = make_reader(config)
    response = {"rows": [{"label": "a", "p": 0.5}, {"label": "b", "p": 1.0}]}
    readings = read(exchange(response, {"x": [[1], [2]]}, request_headers=((b"x-id", b"n"),)))
    assert readings == [
        {"predicted_class": "a", "confidence": 0.5, "embedding": [1], "request_id": "n:0"},
        {"predicted_class": "b", "confidence": 1.0, "embedding": [2], "request_id": "n:1"},
    ]
    with pytest.raises(PayloadError, match="lists of different lengths"):
        read(exchange(response, {"x": [[1], [2], [3]]}))
    with pytest.raises(PayloadError, match="empty lists"):
        read(exchange({"rows": []}, {"x": []}))


def test_a_mapped_id_is_laid_over_what_the_preset_found():
    config = CaptureConfig.model_validate({"fields": {"request_id": "header:x-id"}})
    read = make_reader(config)
    headers = ((b"x-id", b"n"),)
    assert [r["request_id"] for r in read(exchange({"predictions": [1, 2]}, headers=headers))] == [
        "n:0",
        "n:1",
    ]
    assert read(exchange({"prediction": "a"})) == [{"predicted_class": "a"}]


def test_mapped_fields_win_over_the_preset():
    config = CaptureConfig.model_validate({"fields": {"confidence": "sure"}})
    (reading,) = make_reader(config)(exchange({"prediction": "a", "probability": 0.1, "sure": 0.9}))
    assert reading == {"predicted_class": "a", "confidence": 0.9}


def test_headers_say_the_prediction_and_either_side_the_identifier():
    read = DECODERS["headers"]
    headers = ((b"x-predicted-class", b"cat"), (b"x-confidence", b"0.5"), (b"x-request-id", b""))
    made = exchange(b"", headers=headers, request_headers=((b"x-request-id", b"n"),))
    assert read(made) == [{"predicted_class": "cat", "confidence": "0.5", "request_id": "n"}]
    with pytest.raises(PayloadError, match="none of the headers x-predicted-class"):
        read(exchange(b"", headers=((b"x-request-id", b"n"),)))


def test_fields_may_be_names_in_the_response():
    config = CaptureConfig.model_validate(
        {"payload": "fields", "fields": {"predicted_class": "label", "confidence": "response.p"}}
    )
    read = make_reader(config)
    assert read(exchange({"label": "a", "p": 0.5})) == [{"predicted_class": "a", "confidence": 0.5}]
    assert read(exchange({"label": "a", "p": None})) == [{"predicted_class": "a"}]
    assert read(exchange({"label": ["a", "b"], "p": 0.5})) == [
        {"predicted_class": "a", "confidence": 0.5},
        {"predicted_class": "b", "confidence": 0.5},
    ]
    for nothing in ({}, {"p": None}, [{"label": "a"}], "label", 3):
        with pytest.raises(PayloadError, match=r"none of capture\.fields"):
            read(exchange(nothing))


def test_fields_may_be_named_in_several_places():
    config = CaptureConfig.model_validate(
        {"payload": "fields", "fields": {"predicted_class": "label", "features": "request.x"}}
    )
    assert make_reader(config)(exchange({"label": "a"}, {"x": [1]})) == [
        {"predicted_class": "a", "features": [1]}
    ]


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["FP32", "BYTES", "INT64", "AAAAAA==", "chat.completion", "list", "0.5:1:x"]),
)
NAMES = st.sampled_from(
    [
        *("prediction", "probability", "probabilities", "label", "labels", "score", "scores", "value"),
        *("embedding", "result", "output", "outputs", "predictions", "id", "instances", "inputs", "features"),
        *("name", "datatype", "shape", "data", "parameters", "binary_data_size", "object", "choices"),
        *("dataframe_split", "dataframe_records", "columns", "examples", "class", "cat", "dog"),
        *("finish_reason", "logprobs", "content", "logprob", "token_logprobs", "usage", "index"),
        *("results", "relevance_score", "flagged", "category_scores", "categories", "top", "fraud", "probs"),
        *(
            "fraud_probability",
            "y_pred",
            "y_proba",
            "type",
            "stop_reason",
            "stopReason",
            "candidates",
            "done",
        ),
        *(
            "created_at",
            "meta_info",
            "text",
            "stop",
            "tokens_predicted",
            "generated_text",
            "details",
            "tokens",
        ),
        *("ndarray", "tensor", "names", "values", "float", "embeddings", "input_data", "response", "status"),
    ]
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=25,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["predict", "logits", "embedding", "prob"]),
        "datatype": st.sampled_from(["FP32", "FP64", "FP16", "BF16", "INT8", "UINT64", "BOOL", "BYTES", "X"]),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
    },
    optional={
        "data": st.lists(LEAVES, max_size=8),
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40)}),
    },
)
RESPONSES = st.one_of(
    DOCUMENTS,
    st.fixed_dictionaries({"outputs": st.lists(TENSORS, max_size=3), "id": LEAVES}),
    st.fixed_dictionaries({"predictions": st.lists(DOCUMENTS, max_size=4)}),
    st.fixed_dictionaries(
        {
            "object": st.sampled_from(["chat.completion", "text_completion", "list", "response"]),
            "output": DOCUMENTS,
            "choices": DOCUMENTS,
            "data": DOCUMENTS,
            "usage": DOCUMENTS,
        }
    ),
)
REQUESTS = st.one_of(RESPONSES, st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=3)}), st.none())
HEADERS = st.sampled_from(
    [
        (),
        ((b"content-type", b"text/event-stream"),),
        ((b"inference-header-content-length", b"2"),),
        ((b"inference-header-content-length", b"40"),),
        ((b"content-encoding", b"gzip"), (b"x-request-id", b"\xff\x00")),
        ((b"x-confidence", b"\xff"), (b"x-predicted-class", b"")),
    ]
)


def check(preset, made) -> None:
    """An observation for each reading, or a payload error; and every value can be judged."""
    extractor = Extractor("m", CaptureConfig(payload=preset), lambda field, reason: None)
    with contextlib.suppress(PayloadError):
        assert extractor.observations("hook", made)


@pytest.mark.parametrize("preset", DECODERS)
@settings(max_examples=80, deadline=None)
@given(response=RESPONSES, request=REQUESTS, headers=HEADERS, streamed=st.booleans())
def test_any_document_gives_readings_or_a_payload_error(preset, response, request, headers, streamed):
    body = orjson.dumps(response)
    if streamed:
        body = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    made = exchange(body, json.dumps(request).encode(), headers=headers, request_headers=headers)
    check(preset, made)


@settings(max_examples=200, deadline=None)
@given(response=RESPONSES)
def test_the_first_protocol_that_claims_a_response_reads_it(response):
    made = exchange(response)
    with contextlib.suppress(PayloadError):
        read_auto(made)
    claims = [each.name for each in CLAIMS if isinstance(response, dict) and each.claims(response)]
    listed = isinstance(response, list) and response and is_text_generation(response[0])
    assert made.read_as == (claims[0] if claims else "text-generation" if listed else "plain")


@pytest.mark.parametrize("preset", DECODERS)
@settings(max_examples=40, deadline=None)
@given(response=st.binary(max_size=200), request=st.binary(max_size=100), headers=HEADERS)
def test_any_bytes_give_readings_or_a_payload_error(preset, response, request, headers):
    made = exchange(response, request, headers=headers, request_headers=headers)
    check(preset, made)

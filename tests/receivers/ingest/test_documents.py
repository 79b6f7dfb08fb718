"""What a mistake in a document is called, and that nothing but values or such a message comes out of one."""

from __future__ import annotations

import json
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import IngestError
from exporter.receivers.ingest.cloudevents import parse_events
from exporter.receivers.ingest.documents import LABELS, OBSERVATIONS, REPORT
from exporter.receivers.ingest.openapi import openapi
from exporter.receivers.ingest.validation import validated

FIELDS = (
    *("observations", "labels", "model", "timestamp", "predicted_class", "confidence", "value", "embedding"),
    *("features", "request_id", "latency_seconds", "label", "model_id", "model_type", "last_training_time"),
    *("predictions", "prediction_time", "record_id", "prediction", "ground_truth_label", "<one>", ""),
    *("specversion", "id", "type", "time", "data", "data_base64", "inferenceservicename"),
)
TEXTS = (
    "classifier",
    "regression",
    "2026-01-31T12:00:00Z",
    "1.0",
    "a.request",
    "a.response",
    "aGk=",
    "x" * 300,
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(TEXTS)
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
EVENTS = (b"application/cloudevents+json", b"application/cloudevents-batch+json")
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(st.characters(codec="utf-8")), inner, max_size=6)
    ),
    max_leaves=25,
)


@settings(max_examples=1000, deadline=None)
@given(documents)
def test_any_document_becomes_values_or_a_message_with_a_field(document):
    parsed = orjson.loads(json.dumps(document))
    body = orjson.dumps(parsed)
    reads = [
        *(partial(validated, adapter, parsed) for adapter in (OBSERVATIONS, LABELS, REPORT)),
        *(partial(parse_events, body, ((b"content-type", kind),), 1 << 20) for kind in EVENTS),
    ]
    for read in reads:
        error = refusal(read)
        if error is not None:
            assert error.status == 422
            assert error.field
            assert str(error).startswith(f"{error.field}: ")


def refusal(read) -> IngestError | None:
    try:
        read()
    except IngestError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("adapter", "document", "message"),
    [
        (
            OBSERVATIONS,
            {"confidence": 1.5},
            "confidence: 1.5 is not valid: it must be at most 1; send 1 or less",
        ),
        (
            OBSERVATIONS,
            [{"value": 1}, {"value": "2"}],
            "[1].value: '2' is not valid: it must be a number; send one such as 0.5",
        ),
        (
            OBSERVATIONS,
            {"observations": [{"confidnce": 0.5}]},
            "observations[0].confidnce: 0.5 is not valid: there is no such field; did you mean confidence?",
        ),
        (
            OBSERVATIONS,
            {"features": {"age": [1]}},
            "features.age: a list of 1 is not valid: it must be a number, text, boolean or null; send one",
        ),
        (
            OBSERVATIONS,
            {"embedding": [1.0, None]},
            "embedding[1]: nothing is not valid: it must be a number; send one such as 0.5",
        ),
        (LABELS, {"label": "cat"}, "request_id: is required and was not given; add it"),
        (
            REPORT,
            {"model_id": "m", "model_type": "ranker", "last_training_time": 0, "predictions": []},
            "model_type: 'ranker' is not valid: it must be classifier or regression; send one of the two",
        ),
    ],
)
def test_a_message_has_field_value_rule_and_fix(adapter, document, message):
    with pytest.raises(IngestError) as caught:
        validated(adapter, document)
    assert str(caught.value) == message


def test_the_openapi_document_has_a_schema_for_whatever_it_refers_to():
    document = openapi(with_token=True)
    text = json.dumps(document)
    referred = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred == set(document["components"]["schemas"])
    assert document["security"] == [{"token": []}]
    for path in document["paths"].values():
        statuses = set(path["post"]["responses"])
        assert {"400", "401", "408", "413", "415", "422", "429"} <= statuses

"""What was found in the last exchanges: enough to see why something is not read, and never a value."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import CaptureConfig
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.pipeline.extraction import Extractor
from exporter.pipeline.findings import LAST_EXCHANGES, printable, without_values
from tests.decoders.conftest import exchange


def extractor(**capture: Any) -> Extractor:
    return Extractor("m", CaptureConfig.model_validate(capture), lambda *_: None)


def unread(by: Extractor, made: Exchange) -> None:
    with pytest.raises(PayloadError):
        by.observations("hook", made)


def test_what_was_read_is_counted_by_path_decoder_and_field():
    by = extractor()
    for _ in range(3):
        by.observations("hook", exchange({"prediction": "cat", "probability": 0.5}, {"features": {"a": 1}}))
    by.observations("hook", exchange({"predictions": [1, 2]}))
    status = by.findings.status()
    assert (status["exchanges"], status["read"], status["not_read"]) == (4, 4, [])
    first, second = status["found"]
    assert first == {
        "path": "/predict",
        "decoder": "plain",
        "exchanges": 3,
        "observations": 3,
        "fields": {"predicted_class": 3, "confidence": 3, "features": 3, "embedding": 3},
        "features": ["a"],
    }
    assert (second["decoder"], second["observations"]) == ("kserve-v1", 2)


def test_what_was_not_read_has_a_reason_and_the_keys_and_kinds_that_were_there():
    by = extractor()
    secret = {"who": "alice", "answer": {"scores": [[0.1, 7], 2], "deep": [{"x": 1, "y": None, "z": True}]}}
    unread(by, exchange(secret, {"prompt": "hunter2", "n": 3}))
    (group,) = by.findings.status()["not_read"]
    assert group["reason"] == "no_prediction"
    assert group["why"] == "the response has none of the usual names of a prediction"
    assert "capture.fields" in group["advice"]
    assert group["request_keys"] == ["prompt (text)", "n (number)"]
    assert group["response_keys"] == [
        "who (text)",
        "answer.scores (list of 2)",
        "answer.deep[0].x (number)",
        "answer.deep[0].y (null)",
        "answer.deep[0].z (truth value)",
    ]
    assert not any(value in json.dumps(by.findings.status()) for value in ("alice", "hunter2", "0.1", "7"))


def test_what_is_no_json_says_of_what_type_it_is():
    by = extractor()
    unread(by, exchange(b"<html>secret</html>", headers=((b"content-type", b"text/html"),)))
    (group,) = by.findings.status()["not_read"]
    assert (group["reason"], group["why"], group["content_type"], group["response_keys"]) == (
        "unreadable",
        "response is not JSON",
        "text/html",
        [],
    )


def test_values_that_are_refused_are_counted_by_field_and_reason():
    by = extractor()
    for _ in range(2):
        by.observations("hook", exchange({"prediction": "cat", "probability": 7.5}))
    by.observations("hook", exchange({"prediction": "cat", "probability": 0.5}))
    refused = by.findings.status()["refused"]
    assert refused == [{"field": "confidence", "reason": "out_of_range", "values": 2}]


def test_the_last_hundred_are_kept():
    by = extractor()
    for index in range(2 * LAST_EXCHANGES):
        by.observations("hook", exchange({"prediction": "cat" if index else 1}))
    status = by.findings.status()
    assert (status["exchanges"], by.findings.exchanges) == (LAST_EXCHANGES, 2 * LAST_EXCHANGES)


def test_the_log_says_once_what_would_have_it_read(caplog):
    by = extractor()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            unread(by, exchange({"verdict_text": "x", "odd\nkey": [1.5, 2.5]}))
    (record,) = caplog.records
    assert "/predict" in record.message
    assert "verdict_text (text), odd\\nkey (list of 2 numbers)" in record.message
    assert "capture.fields" in record.message
    assert "\n" not in record.message


def test_bodies_that_nobody_can_read_are_not_all_parsed_again():
    by = extractor()
    moments = (100.0, 100.01, 100.02, 101.0)
    for ended in moments:
        made = exchange({"odd": 1})
        made.finish(ended)
        unread(by, made)
    outlined = [each.response is not None for each in by.findings._last]
    assert outlined == [True, False, False, True]
    (group,) = by.findings.status()["not_read"]
    assert (group["exchanges"], group["response_keys"]) == (4, ["odd (number)"])


@pytest.mark.parametrize(
    ("message", "safe"),
    [
        ("response is not JSON: unexpected 'x'", "response is not JSON"),
        ("content-encoding b'secret' is not one of gzip", "content-encoding"),
        ("tensor 'secret': it has no data", "tensor"),
        ('capture.fields.value: In function max(), "secret"', "capture.fields.value"),
    ],
)
def test_messages_are_cut_before_values(message, safe):
    assert without_values(message) == safe


def test_a_body_that_is_too_long_is_not_parsed_again(monkeypatch):
    monkeypatch.setattr("exporter.pipeline.findings._MAX_OUTLINED_BYTES", 20)
    by = extractor()
    unread(by, exchange({"odd name": [1.5] * 10}))
    (group,) = by.findings.status()["not_read"]
    assert group["response_keys"] == ["too long to be looked at"]


def test_long_and_odd_text_is_cut_and_escaped():
    assert printable("a\nb\x00\ud800") == "a\\nb\\x00\\ud800"
    assert printable("x" * 100) == "x" * 64 + "..."
    assert printable("Größe") == "Größe"


VALUES = st.sampled_from(["VALUE-1", 31337, 31337.5])
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="3V"), max_size=90)
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=6)),
    max_leaves=40,
)


@settings(max_examples=150, deadline=None)
@given(response=DOCUMENTS, request=DOCUMENTS)
def test_whatever_comes_no_value_is_kept_and_all_of_it_is_bounded(response, request):
    by = extractor()
    with contextlib.suppress(PayloadError):
        by.observations("hook", exchange(response, request))
    text = json.dumps(by.findings.status(), ensure_ascii=False)
    assert "VALUE-1" not in text
    assert "31337" not in text
    assert len(orjson.dumps(by.findings.status())) < 40_000
    assert text.isprintable()

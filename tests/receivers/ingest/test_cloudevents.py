from __future__ import annotations

import base64
import gzip
import time

import orjson
import pytest

from exporter.config import IngestConfig
from exporter.decoders.auto import read_auto
from exporter.errors import IngestError
from exporter.receivers.ingest.cloudevents import EventJoiner, is_cloudevent, parse_events

LIMIT = 1 << 20


def binary(kind: str, identifier: str = "e1", **attributes: str):
    values = {
        "specversion": "1.0",
        "id": identifier,
        "type": f"org.kubeflow.serving.inference.{kind}",
        "source": "http://logger",
        "inferenceservicename": "wine",
        "time": "2026-01-31T12:00:00Z" if kind == "request" else "2026-01-31T12:00:00.250Z",
        **attributes,
    }
    pairs = tuple((f"ce-{name}".encode(), value.encode()) for name, value in values.items())
    return (*pairs, (b"content-type", b"application/json"))


def joiner(**bounds: float) -> EventJoiner:
    return EventJoiner(IngestConfig(**bounds), LIMIT, time.time)


REQUEST = orjson.dumps({"instances": [[1.0, 2.0]]})
RESPONSE = orjson.dumps({"predictions": [3]})


@pytest.mark.parametrize("response_first", [False, True])
def test_request_and_response_become_an_exchange(response_first):
    join = joiner()
    halves = [("request", REQUEST), ("response", RESPONSE)]
    joined = []
    for kind, body in reversed(halves) if response_first else halves:
        (event,) = parse_events(body, binary(kind), LIMIT)
        joined += join.add(event, 0.0)
    (pair,) = joined
    assert (pair.exchange.notes, pair.model) == ({"request_id": "e1"}, "wine")
    assert read_auto(pair.exchange)[0]["embedding"] == [1.0, 2.0]
    assert pair.exchange.ended - pair.exchange.started == pytest.approx(0.25)
    assert len(join) == join._bytes == 0


def test_structured_and_batched_modes():
    event = {
        "specversion": "1.0",
        "id": "s1",
        "type": "org.kubeflow.serving.inference.response",
        "data": {"predictions": [1]},
    }
    encoded = {**event, "id": "s2", "data_base64": base64.b64encode(RESPONSE).decode()}
    headers = ((b"content-type", b"application/cloudevents+json"), (b"content-encoding", b"gzip"))
    (single,) = parse_events(gzip.compress(orjson.dumps(event)), headers, LIMIT)
    assert single.body == b'{"predictions":[1]}'
    batch = parse_events(
        orjson.dumps([event, encoded]), ((b"content-type", b"application/cloudevents-batch+json"),), LIMIT
    )
    assert [item.id for item in batch] == ["s1", "s2"]
    assert batch[1].body == RESPONSE


def test_the_token_does_not_wait_with_the_event():
    (event,) = parse_events(RESPONSE, (*binary("response"), (b"authorization", b"Bearer secret")), LIMIT)
    assert event.headers == [(b"content-type", b"application/json")]


def test_what_is_a_cloudevent():
    assert is_cloudevent(binary("request"))
    assert is_cloudevent(((b"content-type", b"application/cloudevents+json; charset=utf-8"),))
    assert not is_cloudevent(((b"content-type", b"application/json"),))


def test_a_response_that_waited_too_long_is_read_alone():
    join = joiner(event_window=5.0)
    (lonely,) = parse_events(RESPONSE, binary("response", "a"), LIMIT)
    (other,) = parse_events(REQUEST, binary("request", "b"), LIMIT)
    assert join.add(lonely, 0.0) == []
    (joined,) = join.add(other, 6.0)
    assert joined.exchange.notes == {"request_id": "a"}
    assert joined.exchange.request_body == b""
    assert join.flush() == []


@pytest.mark.parametrize("bounds", [{"max_events": 2}, {"max_event_bytes": 4000}])
def test_what_waits_is_bounded(bounds):
    join = joiner(**bounds)
    alone = []
    for index in range(100):
        (event,) = parse_events(RESPONSE, binary("response", f"a{index}"), LIMIT)
        alone += join.add(event, 0.0)
    assert len(join) <= 3
    assert join._bytes <= 4000
    assert len(alone) + len(join.flush()) == 100
    assert join._bytes == 0


def test_the_same_event_again_changes_nothing():
    join = joiner()
    (event,) = parse_events(RESPONSE, binary("response"), LIMIT)
    assert join.add(event, 0.0) == join.add(event, 0.0) == []
    assert len(join) == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"specversion": "0.3"}, "ce-specversion"),
        ({"type": "com.example.other"}, "ce-type"),
        ({"id": ""}, "ce-id"),
        ({"id": "x" * 257}, "ce-id"),
        ({"inferenceservicename": "x" * 129}, "ce-inferenceservicename"),
        ({"time": "yesterday"}, "ce-time"),
    ],
)
def test_a_wrong_attribute_is_named(changed, field):
    with pytest.raises(IngestError) as caught:
        parse_events(b"{}", binary("request", **changed), LIMIT)
    assert (caught.value.status, caught.value.field) == (422, field)


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"3",
        orjson.dumps({"specversion": "1.0", "id": "x", "type": "a.request", "data_base64": "%"}),
        b'{"specversion":"1.0","id":"x","type":"a.request","data":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
)
def test_a_wrong_structured_event_is_refused(document):
    with pytest.raises(IngestError) as caught:
        parse_events(document, ((b"content-type", b"application/cloudevents+json"),), LIMIT)
    assert caught.value.status == 422

"""CloudEvents as KServe's payload logger sends them: a request and its response, joined by id.

Source: CloudEvents 1.0 and its HTTP protocol binding (binary, structured and batched content modes);
KServe's inference logger for the types ``org.kubeflow.serving.inference.request`` and ``.response``.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter

from exporter.config import IngestConfig
from exporter.http.exchange import Exchange, Headers, header
from exporter.receivers.ingest.bodies import media_type, plain_body, read
from exporter.receivers.ingest.documents import MANY
from exporter.receivers.ingest.validation import ModelName, Moment, RequestId, ruled, validated

_STRUCTURED = b"application/cloudevents+json"
_BATCHED = b"application/cloudevents-batch+json"
_OVERHEAD_BYTES = 1024
# They are about the way here; what waits, waits without the token.
_OWN_HEADERS = (b"content-encoding", b"authorization")


_Base64 = Annotated[
    bytes,
    PlainValidator(partial(base64.b64decode, validate=True)),
    ruled("it must be base64; encode the data so, or send it as data"),
]


class _Attributes(BaseModel):
    """What is read of an event; whatever else it says is let be. In the binary mode the data are the body."""

    model_config = ConfigDict(strict=True)

    specversion: Annotated[Literal["1.0"], ruled("it must be 1.0; send CloudEvents 1.0")]
    type: Annotated[
        str,
        Field(pattern=r"\.(request|response)$"),
        ruled("it must end in .request or .response; send events of KServe's logger"),
    ]
    id: RequestId
    inferenceservicename: ModelName | None = None
    time: Moment | None = None
    data: Annotated[bytes, PlainValidator(orjson.dumps), ruled("it is too deep; nest it less")] = b"null"
    data_base64: _Base64 | None = None

    def event(self, headers: Headers = (), body: bytes | None = None) -> Event:
        """The event, with the headers and the body of the binary mode."""
        if body is None:
            body = self.data if self.data_base64 is None else self.data_base64
        is_request = self.type.endswith(".request")
        return Event(self.id, is_request, self.inferenceservicename, self.time, headers, body)


_SINGLE: TypeAdapter[_Attributes] = TypeAdapter(_Attributes)
_BATCH: TypeAdapter[list[_Attributes]] = TypeAdapter(Annotated[list[_Attributes], MANY])


@dataclass(frozen=True, slots=True)
class Event:
    """One half of an exchange, at ``time`` in seconds since the epoch, of ``model`` if it names one."""

    id: str
    is_request: bool
    model: str | None
    time: float | None
    headers: Headers
    body: bytes

    @property
    def n_bytes(self) -> int:
        """What it holds in memory, roughly."""
        return _OVERHEAD_BYTES + len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


class Joined(NamedTuple):
    """An exchange put together from its events; it carries their id as the request's."""

    model: str | None
    exchange: Exchange


def is_cloudevent(headers: Headers) -> bool:
    """Whether a request carries CloudEvents, in any content mode."""
    return media_type(headers) in (_STRUCTURED, _BATCHED) or header(headers, b"ce-type") is not None


def parse_events(body: bytes, headers: Headers, max_bytes: int) -> list[Event]:
    """The events of a request; an IngestError for all but CloudEvents 1.0 of KServe's two types."""
    declared = media_type(headers)
    if declared == _BATCHED:
        return [said.event() for said in read(_BATCH, body, headers, max_bytes)]
    if declared == _STRUCTURED:
        return [read(_SINGLE, body, headers, max_bytes).event()]
    plain = plain_body(body, headers, max_bytes)
    attributes = {
        name[3:].decode("latin-1"): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(b"ce-")
    }
    others = [pair for pair in headers if not pair[0].startswith(b"ce-") and pair[0] not in _OWN_HEADERS]
    return [validated(_SINGLE, attributes, "ce-").event(others, plain)]


class EventJoiner:
    """Joins requests and responses by id, whichever comes first, in bounded memory.

    Half of a pair waits for the other. A response that waited too long, or is pushed out, is read
    without its request; a request without a response predicts nothing and is forgotten. ``clock`` (seconds
    since the epoch) is for events that do not say when they were.
    """

    def __init__(self, config: IngestConfig, max_body_bytes: int, clock: Callable[[], float]) -> None:
        self._config = config
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        # By id and model, and in the order in which they came.
        self._waiting: OrderedDict[tuple[str, str | None], tuple[float, Event]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, event: Event, now: float) -> list[Joined]:
        """Take in an event; returns the exchanges that are complete now, or will not become so.

        ``now`` is in seconds of any clock that does not go back.
        """
        waiting, config = self._waiting, self._config
        done: list[Joined] = []
        while waiting and now - next(iter(waiting.values()))[0] > config.event_window:
            done += self._oldest_alone()
        key = (event.id, event.model)
        if key not in waiting:
            waiting[key] = (now, event)
            self._bytes += event.n_bytes
            while len(waiting) > config.max_events or self._bytes > config.max_event_bytes:
                done += self._oldest_alone()
        elif (other := waiting[key][1]).is_request != event.is_request:  # else the logger sent it again
            del waiting[key]
            self._bytes -= other.n_bytes
            done.append(self._joined(event, other) if event.is_request else self._joined(other, event))
        return done

    def flush(self) -> list[Joined]:
        """Responses that still wait, each without its request."""
        return [joined for _ in range(len(self._waiting)) for joined in self._oldest_alone()]

    def _oldest_alone(self) -> list[Joined]:
        _, (_, event) = self._waiting.popitem(last=False)
        self._bytes -= event.n_bytes
        return [] if event.is_request else [self._joined(None, event)]

    def _joined(self, request: Event | None, response: Event) -> Joined:
        ended = self._clock() if response.time is None else response.time
        started = None if request is None or response.time is None else request.time
        started = ended if started is None else started
        headers = () if request is None else request.headers
        exchange = Exchange("POST", "/", b"", headers, max_body_bytes=self._max_body_bytes, started=started)
        if request is not None:
            exchange.request_chunk(request.body)
        exchange.response_start(200, response.headers)
        exchange.response_chunk(response.body)
        exchange.finish(ended)
        exchange.notes = {"request_id": response.id}
        return Joined(response.model, exchange)

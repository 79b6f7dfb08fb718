"""CloudEvents as KServe's payload logger sends them: a request and its response, joined by id.

Source: CloudEvents 1.0 and its HTTP protocol binding (binary, structured and batched content modes);
KServe's inference logger for the types ``org.kubeflow.serving.inference.request`` and ``.response``.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter

from exporter.errors import IngestError
from exporter.http.exchange import Exchange, Headers, header
from exporter.receivers.ingest.documents import MANY
from exporter.receivers.ingest.validation import (
    ModelName,
    Moment,
    RequestId,
    parsed,
    plain_body,
    ruled,
    validated,
)

_BATCHED = b"application/cloudevents-batch+json"
_OVERHEAD_BYTES = 1024
# They are about the way here; what waits, waits without the token.
_OWN_HEADERS = (b"content-encoding", b"authorization")


def _from_base64(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("it must be base64; encode the data so, or send it as data") from None


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
    data: Any = None
    data_base64: Annotated[bytes, PlainValidator(_from_base64)] | None = None


_SINGLE: TypeAdapter[_Attributes] = TypeAdapter(_Attributes)
_BATCH: TypeAdapter[list[_Attributes]] = TypeAdapter(Annotated[list[_Attributes], MANY])


@dataclass(frozen=True, slots=True)
class Event:
    """One half of an exchange. ``model`` is None where the event names no inference service.

    ``time`` is in seconds since the epoch.
    """

    id: str
    is_request: bool
    model: str | None
    time: float | None
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """An exchange put together from its events; it carries their id as the request's."""

    model: str | None
    exchange: Exchange


def is_cloudevent(headers: Headers) -> bool:
    """Whether a request carries CloudEvents, in any content mode."""
    content_type = (header(headers, b"content-type") or b"").lower()
    return content_type.startswith(b"application/cloudevents") or header(headers, b"ce-type") is not None


def parse_events(body: bytes, headers: Headers, max_bytes: int) -> list[Event]:
    """The events of a request.

    Raises
    ------
    IngestError
        If the request is not CloudEvents 1.0, or an event is neither a request nor a response of an
        inference service.
    """
    content_type = (header(headers, b"content-type") or b"").lower()
    if content_type.startswith(_BATCHED):
        batch = validated(_BATCH, parsed(body, headers, max_bytes))
        return [_event(item, (), _data(item, f"[{index}].")) for index, item in enumerate(batch)]
    if content_type.startswith(b"application/cloudevents"):
        single = validated(_SINGLE, parsed(body, headers, max_bytes))
        return [_event(single, (), _data(single, ""))]
    plain = plain_body(body, headers, max_bytes)
    said = {
        name[3:].decode("latin-1"): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(b"ce-")
    }
    others = [pair for pair in headers if not pair[0].startswith(b"ce-") and pair[0] not in _OWN_HEADERS]
    return [_event(validated(_SINGLE, said, "ce-"), others, plain)]


def _event(said: _Attributes, headers: Headers, body: bytes) -> Event:
    is_request = said.type.endswith(".request")
    return Event(said.id, is_request, said.inferenceservicename, said.time, headers, body)


def _data(said: _Attributes, at: str) -> bytes:
    if said.data_base64 is not None:
        return said.data_base64
    try:
        return orjson.dumps(said.data)
    except orjson.JSONEncodeError as error:
        raise IngestError(422, f"{at}data", f"cannot be taken as JSON: {error}; send less deep") from None


class EventJoiner:
    """Joins requests and responses by id, whichever comes first, in bounded memory.

    Half of a pair waits for the other. A response that waited too long, or is pushed out, is read
    without its request; a request without a response predicts nothing and is forgotten.

    Parameters
    ----------
    max_items, max_bytes
        How many halves may wait, and how much they may hold.
    window_seconds
        How long a half waits.
    max_body_bytes
        Cap of each body, as of any exchange.
    clock
        Seconds since the epoch, for events that do not say when they were.
    """

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        window_seconds: float,
        max_body_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._window_seconds = window_seconds
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._waiting: OrderedDict[tuple[str, str | None], tuple[float, Event]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, event: Event, now: float) -> list[Joined]:
        """Take in an event; returns the exchanges that are complete now, or will not become so.

        ``now`` is in seconds of any clock that does not go back.
        """
        done = self._expired(now)
        key = (event.id, event.model)
        waiting = self._waiting.get(key)
        if waiting is not None:
            other = waiting[1]
            if other.is_request == event.is_request:
                return done  # the logger sent it again
            self._remove(key)
            request, response = (event, other) if event.is_request else (other, event)
            return [*done, self._join(request, response)]
        self._waiting[key] = (now, event)
        self._bytes += _size(event)
        while len(self._waiting) > self._max_items or self._bytes > self._max_bytes:
            done += self._alone(next(iter(self._waiting)))
        return done

    def flush(self) -> list[Joined]:
        """Responses that still wait, each without its request."""
        return [joined for key in list(self._waiting) for joined in self._alone(key)]

    def _expired(self, now: float) -> list[Joined]:
        done: list[Joined] = []
        while self._waiting:
            key, (arrived, _) = next(iter(self._waiting.items()))
            if now - arrived <= self._window_seconds:
                break
            done += self._alone(key)
        return done

    def _alone(self, key: tuple[str, str | None]) -> list[Joined]:
        event = self._remove(key)
        return [] if event.is_request else [self._join(None, event)]

    def _remove(self, key: tuple[str, str | None]) -> Event:
        event = self._waiting.pop(key)[1]
        self._bytes -= _size(event)
        return event

    def _join(self, request: Event | None, response: Event) -> Joined:
        ended = self._clock() if response.time is None else response.time
        started = None if request is None or response.time is None else request.time
        exchange = Exchange(
            "POST",
            "/",
            b"",
            () if request is None else request.headers,
            max_body_bytes=self._max_body_bytes,
            started=ended if started is None else started,
        )
        if request is not None:
            exchange.request_chunk(request.body)
        exchange.response_start(200, response.headers)
        exchange.response_chunk(response.body)
        exchange.finish(ended)
        exchange.notes = {"request_id": response.id}
        return Joined(response.model, exchange)


def _size(event: Event) -> int:
    return _OVERHEAD_BYTES + len(event.body) + sum(len(name) + len(value) for name, value in event.headers)

"""CloudEvents as KServe's payload logger sends them: a request and its answer, joined by id.

Source: CloudEvents 1.0 and its HTTP protocol binding (binary, structured and batched content modes);
KServe's inference logger for the types ``org.kubeflow.serving.inference.request`` and ``.response``.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from exporter.decoders.base import decoded
from exporter.errors import IngestError, PayloadError
from exporter.http.exchange import Exchange, Headers, header
from exporter.receivers.ingest.documents import MAX_ITEMS, MAX_MODEL_CHARACTERS, parse_body, parse_time

_STRUCTURED = b"application/cloudevents+json"
_BATCHED = b"application/cloudevents-batch+json"
_SUFFIXES: dict[str, Literal["request", "response"]] = {
    ".request": "request",
    ".response": "response",
}
_MAX_ID_CHARACTERS = 256
_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One half of an exchange. ``model`` is None where the event names no inference service."""

    id: str
    kind: Literal["request", "response"]
    model: str | None
    time: float | None
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """An exchange put together from its events."""

    id: str
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
        If the request is not CloudEvents 1.0, or an event is neither a request nor an answer of an
        inference service.
    """
    content_type = (header(headers, b"content-type") or b"").lower()
    if content_type.startswith(_BATCHED):
        document = parse_body(body, headers, max_bytes)
        if not isinstance(document, list):
            raise IngestError(422, "body", "a batch of events must be a list")
        if len(document) > MAX_ITEMS:
            raise IngestError(422, "body", f"has {len(document)} events; send at most {MAX_ITEMS} at a time")
        return [_structured(item, f"[{index}].") for index, item in enumerate(document)]
    if content_type.startswith(_STRUCTURED):
        return [_structured(parse_body(body, headers, max_bytes), "")]
    try:
        plain = decoded(body, headers, max_bytes)
    except PayloadError as error:
        raise IngestError(413 if error.reason == "body_too_large" else 415, "", str(error)) from None
    attributes = {
        name[3:].decode("latin-1"): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(b"ce-")
    }
    others = [pair for pair in headers if not pair[0].startswith(b"ce-") and pair[0] != b"content-encoding"]
    return [_event(attributes, "ce-", others, plain)]


class EventJoiner:
    """Joins requests and answers by id, whichever comes first, in bounded memory.

    Half of a pair waits for the other. An answer that waited too long, or is pushed out, is read
    without its request; a request without an answer predicts nothing and is forgotten.

    Parameters
    ----------
    max_items, max_bytes
        How many halves may wait, and how much they may hold.
    window_seconds
        How long a half waits.
    max_body_bytes
        Cap of each body, as of any exchange.
    """

    def __init__(self, *, max_items: int, max_bytes: int, window_seconds: float, max_body_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._window_seconds = window_seconds
        self._max_body_bytes = max_body_bytes
        self._waiting: OrderedDict[tuple[str, str | None], tuple[float, Event]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """What the waiting halves hold, roughly."""
        return self._bytes

    def add(self, event: Event, now: float) -> list[Joined]:
        """Take in an event; returns the exchanges that are complete now, or will not become so.

        ``now`` is in seconds of any clock that does not go back.
        """
        done = self._expired(now)
        key = (event.id, event.model)
        waiting = self._waiting.get(key)
        if waiting is not None:
            other = waiting[1]
            if other.kind == event.kind:
                return done  # the logger sent it again
            self._remove(key)
            request, response = (event, other) if event.kind == "request" else (other, event)
            return [*done, self._join(request, response)]
        self._waiting[key] = (now, event)
        self._bytes += _size(event)
        while len(self._waiting) > self._max_items or self._bytes > self._max_bytes:
            done += self._alone(next(iter(self._waiting)))
        return done

    def flush(self) -> list[Joined]:
        """Answers that still wait, each without its request."""
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
        return [self._join(None, event)] if event.kind == "response" else []

    def _remove(self, key: tuple[str, str | None]) -> Event:
        event = self._waiting.pop(key)[1]
        self._bytes -= _size(event)
        return event

    def _join(self, request: Event | None, response: Event) -> Joined:
        ended = response.time
        started = request.time if request is not None and request.time is not None else ended
        exchange = Exchange(
            "POST",
            "/",
            b"",
            request.headers if request is not None else (),
            max_body_bytes=self._max_body_bytes,
            started=started if started is not None else 0.0,
        )
        if request is not None:
            exchange.request_chunk(request.body)
        exchange.response_start(200, response.headers)
        exchange.response_chunk(response.body)
        exchange.finish(ended if ended is not None else exchange.started)
        return Joined(response.id, response.model, exchange)


def _size(event: Event) -> int:
    return _OVERHEAD_BYTES + len(event.body) + sum(len(name) + len(value) for name, value in event.headers)


def _structured(document: Any, at: str) -> Event:
    if not isinstance(document, dict):
        raise IngestError(422, at.rstrip(".") or "body", "an event must be an object")
    attributes = {name: value for name, value in document.items() if isinstance(value, str)}
    if "data_base64" in document:
        try:
            body = base64.b64decode(document["data_base64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise IngestError(422, f"{at}data_base64", "must be base64") from None
    else:
        try:
            body = orjson.dumps(document.get("data"))
        except orjson.JSONEncodeError as error:
            raise IngestError(422, f"{at}data", f"cannot be taken as JSON: {error}") from None
    return _event(attributes, at, (), body)


def _event(attributes: dict[str, str], at: str, headers: Headers, body: bytes) -> Event:
    version = attributes.get("specversion")
    if version != "1.0":
        raise IngestError(422, f"{at}specversion", f"{_shown(version)} must be 1.0")
    kind = next((kind for end, kind in _SUFFIXES.items() if attributes.get("type", "").endswith(end)), None)
    if kind is None:
        raise IngestError(
            422,
            f"{at}type",
            f"{_shown(attributes.get('type'))} must end in .request or .response, as KServe's logger writes",
        )
    identifier = attributes.get("id", "")
    if not 1 <= len(identifier) <= _MAX_ID_CHARACTERS:
        raise IngestError(422, f"{at}id", f"must be text of 1 to {_MAX_ID_CHARACTERS} characters")
    model = attributes.get("inferenceservicename")
    if model is not None and not 1 <= len(model) <= MAX_MODEL_CHARACTERS:
        raise IngestError(
            422, f"{at}inferenceservicename", f"must be text of 1 to {MAX_MODEL_CHARACTERS} characters"
        )
    time = attributes.get("time")
    return Event(
        identifier, kind, model, None if time is None else parse_time(f"{at}time", time), headers, body
    )


def _shown(value: str | None) -> str:
    return "it is missing and" if value is None else repr(value)[:80]

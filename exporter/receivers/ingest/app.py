"""The ingest API as an ASGI application: a thin shell over :mod:`exporter.receivers.ingest.documents`.

``POST /v1/observations`` takes observations and CloudEvents, ``POST /v1/labels`` late labels, and
``POST /metrics`` the report of a batch service; ``GET /v1/openapi.json`` describes them.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import orjson

from exporter.config import IngestConfig
from exporter.decoders.base import Decoder, identified
from exporter.decoders.values import Refuse, clean
from exporter.errors import IngestError, PayloadError
from exporter.http.exchange import Headers, header
from exporter.observation import Label, LabelOutcome, Observation
from exporter.receivers.ingest.cloudevents import EventJoiner, Joined, is_cloudevent, parse_events
from exporter.receivers.ingest.documents import (
    ModelReport,
    parse_body,
    parse_labels,
    parse_observations,
    parse_report,
)
from exporter.receivers.ingest.openapi import openapi
from exporter.receivers.ingest.seen import Seen

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ROUTES = ("/v1/observations", "/v1/labels", "/metrics")
OPENAPI_ROUTE = "/v1/openapi.json"
_IDEMPOTENCY_KEY = b"idempotency-key"
_MAX_KEY_BYTES = 256


class IngestSink(Protocol):
    """Where accepted values go. Called on the listener's thread; no call may wait."""

    def accepts(self, model: str) -> bool:
        """Whether observations of a model can be taken."""

    def submit(self, observation: Observation) -> bool:
        """Queue an observation; False if the queue is full."""

    def label(self, label: Label) -> LabelOutcome:
        """Join a label."""

    def report(self, report: ModelReport) -> None:
        """Take note of a model's type and training time, before its observations are submitted."""

    def unreadable(self, error: PayloadError) -> None:
        """Count an exchange out of CloudEvents that held no readable prediction."""


class IngestApp:
    """The application.

    Parameters
    ----------
    config
        Bounds.
    model
        The model of what names none.
    sink
        Where accepted values go.
    read
        How exchanges out of CloudEvents are read.
    token
        If given, requests need ``Authorization: Bearer TOKEN``.
    embedding_length
        The length that a model's detector expects of embeddings; None where any will do.
    refuse
        Called with (field, reason) for each value of a CloudEvents exchange that is refused.
    count
        Called with (route, status) for each answer.
    clock, monotonic
        Seconds since the epoch, and of a clock that does not go back.
    """

    def __init__(
        self,
        config: IngestConfig,
        *,
        model: str,
        sink: IngestSink,
        read: Decoder,
        max_exchange_bytes: int = 1024 * 1024,
        token: str | None = None,
        embedding_length: Callable[[str], int | None] = lambda _: None,
        refuse: Refuse = lambda _, __: None,
        count: Callable[[str, int], None] = lambda _, __: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._model = model
        self._sink = sink
        self._read = read
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()
        self._embedding_length = embedding_length
        self._refuse = refuse
        self._count = count
        self._clock = clock
        self._monotonic = monotonic
        self._records: Seen[bool] = Seen(config.max_records)
        self._requests: Seen[int] = Seen(10_000)
        self._joiner = EventJoiner(
            max_items=config.max_events,
            max_bytes=int(config.max_event_bytes),
            window_seconds=config.event_window,
            max_body_bytes=max_exchange_bytes,
        )
        self._handlers: dict[str, Callable[[bytes, Headers], _Answer]] = {
            "/v1/observations": self._observations,
            "/v1/labels": self._labels,
            "/metrics": self._report,
        }
        self._openapi = orjson.dumps(openapi(with_token=token is not None))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; other kinds of scope are none of this application's."""
        if scope["type"] != "http":
            raise RuntimeError(f"the ingest application speaks HTTP, not {scope['type']}")
        path = scope["path"]
        if path == OPENAPI_ROUTE and scope["method"] in ("GET", "HEAD"):
            await _respond(send, _Answer(200, self._openapi))
            return
        handler = self._handlers.get(path)
        if handler is None:
            await _respond(send, _refusal(404, "", f"no such route; there are {', '.join(ROUTES)}"))
            return
        answer = await self._handle(handler, scope, receive)
        self._count(path, answer.status)
        await _respond(send, answer)

    def flush(self) -> None:
        """Submit the CloudEvents answers that still wait for their requests."""
        for joined in self._joiner.flush():
            self._submit_exchange(joined)

    async def _handle(
        self, handler: Callable[[bytes, Headers], _Answer], scope: Scope, receive: Receive
    ) -> _Answer:
        headers: Headers = scope["headers"]
        if scope["method"] != "POST":
            return _refusal(405, "", "use POST", (b"allow", b"POST"))
        if not self._authorized(headers):
            return _refusal(
                401, "authorization", "needs Bearer and the admin token", (b"www-authenticate", b"Bearer")
            )
        try:
            return handler(await self._body(headers, receive), headers)
        except IngestError as error:
            return _refusal(error.status, error.field, str(error))

    def _authorized(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        kind, _, given = (header(headers, b"authorization") or b"").partition(b" ")
        # Digests have one length, so that the comparison's time says nothing of the token's.
        digest = hashlib.sha256(given.strip()).digest()
        return hmac.compare_digest(digest, self._token) and kind.lower() == b"bearer"

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limit = int(self._config.max_body_bytes)
        declared = header(headers, b"content-length") or b"0"
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            raise _too_large(limit)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise IngestError(400, "", "the request broke off before its end")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _parse(self, body: bytes, headers: Headers) -> Any:
        return parse_body(body, headers, int(self._config.max_body_bytes))

    def _observations(self, body: bytes, headers: Headers) -> _Answer:
        if is_cloudevent(headers):
            return self._events(body, headers)
        observations = parse_observations(self._parse(body, headers), model=self._model, now=self._clock())
        for index, observation in enumerate(observations):
            self._check(observation, "" if len(observations) == 1 else f"[{index}].")
        key = header(headers, _IDEMPOTENCY_KEY)
        if key is None:
            return self._submit(observations)
        if len(key) > _MAX_KEY_BYTES:
            raise IngestError(422, "idempotency-key", f"must be at most {_MAX_KEY_BYTES} bytes")
        # A client that lost the answer sends the same batch again: go on where it was left.
        done = min(self._requests.get(key) or 0, len(observations))
        answer = self._submit(observations[done:], already=done)
        self._requests.remember(key, answer.accepted)
        return answer

    def _submit(self, observations: list[Observation], already: int = 0) -> _Answer:
        for index, observation in enumerate(observations):
            if not self._sink.submit(observation):
                return self._busy(already + index)
        accepted = already + len(observations)
        return _Answer(202, orjson.dumps({"accepted": accepted}), accepted=accepted)

    def _events(self, body: bytes, headers: Headers) -> _Answer:
        events = parse_events(body, headers, int(self._config.max_body_bytes))
        for index, event in enumerate(events):
            if event.model is not None and not self._sink.accepts(event.model):
                raise _unknown_model(f"[{index}].inferenceservicename", event.model)
        full = False
        for event in events:
            for joined in self._joiner.add(event, self._monotonic()):
                full = not self._submit_exchange(joined) or full
        if full:
            return self._busy(len(events))
        return _Answer(202, orjson.dumps({"accepted": len(events)}), accepted=len(events))

    def _submit_exchange(self, joined: Joined) -> bool:
        exchange = joined.exchange
        try:
            readings = identified(self._read(exchange), joined.id)
        except PayloadError as error:
            self._sink.unreadable(error)
            return True
        latency = exchange.ended - exchange.started
        taken = [
            self._sink.submit(
                Observation(
                    model=joined.model or self._model,
                    source="ingest",
                    timestamp=exchange.ended or self._clock(),
                    latency_seconds=latency if latency > 0.0 else None,
                    **clean(reading, self._refuse),
                )
            )
            for reading in readings
        ]
        return all(taken)

    def _labels(self, body: bytes, headers: Headers) -> _Answer:
        labels = parse_labels(self._parse(body, headers), model=self._model, now=self._clock())
        for index, label in enumerate(labels):
            if not self._sink.accepts(label.model):
                raise _unknown_model(f"[{index}].model", label.model)
        outcomes: dict[str, int] = {}
        for label in labels:
            outcome = self._sink.label(label)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        return _Answer(202, orjson.dumps({"accepted": len(labels), **outcomes}), accepted=len(labels))

    def _report(self, body: bytes, headers: Headers) -> _Answer:
        report = parse_report(self._parse(body, headers))
        if not self._sink.accepts(report.model):
            raise _unknown_model("model_id", report.model)
        for index, observation in enumerate(report.observations):
            self._check(observation, f"predictions[{index}].")
        self._sink.report(report)
        accepted = duplicates = 0
        for observation in report.observations:
            key = (observation.model, observation.request_id)
            if self._records.get(key):
                duplicates += 1
            elif self._sink.submit(observation):
                self._records.remember(key, True)
                accepted += 1
            else:
                return self._busy(accepted)
        for label in report.labels:
            self._sink.label(label)
        body = orjson.dumps({"accepted": accepted, "duplicates": duplicates})
        return _Answer(200, body, accepted=accepted)

    def _check(self, observation: Observation, at: str) -> None:
        if not self._sink.accepts(observation.model):
            raise _unknown_model(f"{at}model", observation.model)
        if observation.embedding is None:
            return
        expected = self._embedding_length(observation.model)
        given = len(observation.embedding)
        if expected is not None and given != expected:
            raise IngestError(
                422, f"{at}embedding", f"has {given} numbers; the detector's reference has {expected}"
            )

    def _busy(self, accepted: int) -> _Answer:
        seconds = str(math.ceil(self._config.retry_after)).encode()
        body = orjson.dumps({"error": "the queue is full; send the rest again later", "accepted": accepted})
        return _Answer(429, body, ((b"retry-after", seconds),), accepted)


class _Answer:
    __slots__ = ("accepted", "body", "headers", "status")

    def __init__(
        self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), accepted: int = 0
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.accepted = accepted


def _refusal(status: int, field: str, message: str, *headers: tuple[bytes, bytes]) -> _Answer:
    return _Answer(status, orjson.dumps({"error": message, "field": field}), headers)


def _too_large(limit: int) -> IngestError:
    return IngestError(
        413, "", f"the body is longer than ingest.max_body_bytes ({limit}); send less at a time"
    )


def _unknown_model(field: str, model: str) -> IngestError:
    return IngestError(422, field, f"{model!r} is not a model that is watched here")


async def _respond(send: Send, answer: _Answer) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})

"""The ingest API as Starlette routes: observations, late labels, reports of models, and what describes them.

``POST /v1/observations`` takes observations and CloudEvents, ``POST /v1/labels`` late labels, and
``POST /metrics`` the report of a batch service; ``GET /v1/openapi.json`` describes them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import orjson
from cachetools import LRUCache
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.config import IngestConfig
from exporter.errors import IngestError
from exporter.http.exchange import Exchange, Headers, header
from exporter.model import MAX_NAME_CHARACTERS, can_be_label
from exporter.observation import Label, LabelOutcome, Observation
from exporter.receivers.ingest.bodies import Bodies, check_content_type, read
from exporter.receivers.ingest.cloudevents import EventJoiner, Joined, is_cloudevent, parse_events
from exporter.receivers.ingest.documents import LABELS, OBSERVATIONS, REPORT, Accepted, Refused, Report
from exporter.receivers.ingest.openapi import openapi

_MAX_KEY_BYTES = 256
_MAX_KEYS = 10_000


class IngestSink(Protocol):
    """What is behind the API. Called on one thread, which is not the listener's; no call may wait."""

    def accepts(self, model: str) -> bool:
        """Whether observations of a model can be taken."""

    def embedding_length(self, model: str) -> int | None:
        """The length that the model's detector expects of embeddings; None where any will do."""

    def submit(self, item: Observation | Exchange, model: str | None) -> bool:
        """Queue an item of ``model``, or of the one that it names; False if the queue is full."""

    def label(self, label: Label) -> LabelOutcome:
        """Join a label."""

    def report(self, report: Report) -> None:
        """Take note of a model's type and training time, before its observations are submitted."""

    def count(self, route: str, status: int) -> None:
        """Count a response; called on the listener's thread."""


class IngestApp:
    """The routes, and what is behind them.

    The event loop receives bodies and responds; decoding, parsing and checking happen on one thread, a body
    at a time, so that the listener goes on responding whatever a body holds. What names no model is of
    ``model``; ``max_exchange_bytes`` caps each body of an exchange that CloudEvents hold.
    """

    def __init__(
        self,
        config: IngestConfig,
        *,
        model: str,
        sink: IngestSink,
        max_exchange_bytes: int = 1024 * 1024,
        token: str | None = None,
        body_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_body_bytes = int(config.max_body_bytes)
        self._later = {"retry-after": str(math.ceil(config.retry_after))}
        self.model = model
        self._sink = sink
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()
        self._clock = clock
        self._bodies = Bodies(self._max_body_bytes, body_seconds)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="inference-exporter-ingest")
        self._records: LRUCache[tuple[str, str | None], bool] = LRUCache(config.max_records)
        self._requests: LRUCache[bytes | None, int] = LRUCache(_MAX_KEYS)
        self._joiner = EventJoiner(config, max_exchange_bytes, clock)
        document = orjson.dumps(openapi(with_token=token is not None))
        self.routes = [
            self._route("/v1/observations", self._observations),
            self._route("/v1/labels", self._labels),
            self._route("/metrics", self._report),
            Route("/v1/openapi.json", lambda _: Response(document, media_type="application/json")),
        ]

    def flush(self) -> None:
        """Submit the responses out of CloudEvents that still wait for their requests."""
        self._worker.submit(lambda: [self._submit_joined(joined) for joined in self._joiner.flush()]).result()

    def _route(self, path: str, work: Callable[[bytes, Headers], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                self._admit(request.scope["headers"])
                async with self._bodies.received(request) as body:
                    loop = asyncio.get_running_loop()
                    response = await loop.run_in_executor(self._worker, work, body, request.scope["headers"])
            except IngestError as error:
                response = self._refusal(error)
            self._sink.count(path, response.status_code)
            return response

        return Route(path, endpoint, methods=["POST"])

    def _admit(self, headers: Headers) -> None:
        """Refuse who may not post, before a byte of the body is looked at."""
        if self._token is not None:
            scheme, _, given = (header(headers, b"authorization") or b"").partition(b" ")
            # Digests have one length, so that the comparison's time says nothing of the token's.
            digest = hashlib.sha256(given.strip()).digest()
            if not hmac.compare_digest(digest, self._token) or scheme.lower() != b"bearer":
                raise IngestError(401, "authorization", "it must be Bearer and admin.token; send both")
        elif header(headers, b"origin") is not None:
            # By a name that leads here, a page anywhere passes for one of this host.
            rule = "without admin.token web pages may not post here; set a token and send it"
            raise IngestError(403, "origin", rule)
        check_content_type(headers)

    def _observations(self, body: bytes, headers: Headers) -> Response:
        if is_cloudevent(headers):
            return self._events(body, headers)
        now = self._clock()
        posted = read(OBSERVATIONS, body, headers, self._max_body_bytes)
        observations = [item.observation(self.model, now) for item in posted]
        for index, observation in enumerate(observations):
            self._check(observation, "" if len(observations) == 1 else f"[{index}].")
        key = header(headers, b"idempotency-key")
        if key is not None and len(key) > _MAX_KEY_BYTES:
            rule = f"it must be at most {_MAX_KEY_BYTES} bytes; send a shorter one"
            raise IngestError(422, "idempotency-key", rule)
        # A client that lost the response sends the same batch again: go on where it was left.
        accepted = min(self._requests.get(key) or 0, len(observations))
        for observation in observations[accepted:]:
            if not self._sink.submit(observation, observation.model):
                break
            accepted += 1
        if key is not None:
            self._requests[key] = accepted
        return self._taken(accepted, is_full=accepted < len(observations))

    def _events(self, body: bytes, headers: Headers) -> Response:
        events = parse_events(body, headers, self._max_body_bytes)
        for index, event in enumerate(events):
            if event.model is not None:
                self._known(event.model, f"[{index}].inferenceservicename")
        is_full = False
        for event in events:
            for joined in self._joiner.add(event, time.monotonic()):
                is_full = not self._submit_joined(joined) or is_full
        return self._taken(len(events), is_full=is_full)

    def _submit_joined(self, joined: Joined) -> bool:
        return self._sink.submit(joined.exchange, joined.model)

    def _labels(self, body: bytes, headers: Headers) -> Response:
        now = self._clock()
        posted = read(LABELS, body, headers, self._max_body_bytes)
        labels = [item.as_label(self.model, now) for item in posted]
        for index, label in enumerate(labels):
            self._known(label.model, f"[{index}].model")
        outcomes = Counter[str](self._sink.label(label) for label in labels)
        return _json(202, Accepted(accepted=len(labels), **outcomes))

    def _report(self, body: bytes, headers: Headers) -> Response:
        report = read(REPORT, body, headers, self._max_body_bytes)
        self._known(report.model_id, "model_id")
        observations = [row.observation(report.model_id, row.timestamp) for row in report.predictions]
        for index, observation in enumerate(observations):
            self._check(observation, f"predictions[{index}].")
        self._sink.report(report)
        accepted = duplicates = 0
        for observation in observations:
            key = (observation.model, observation.request_id)
            if key in self._records:
                duplicates += 1
            elif self._sink.submit(observation, observation.model):
                accepted += 1
            else:
                return self._taken(accepted, is_full=True)
            self._records[key] = True
        for row in report.predictions:
            if row.ground_truth_label is not None:
                label = Label(report.model_id, row.request_id, row.ground_truth_label, row.timestamp)
                self._sink.label(label)
        return _json(200, Accepted(accepted=accepted, duplicates=duplicates))

    def _check(self, observation: Observation, at: str) -> None:
        self._known(observation.model, f"{at}model")
        if observation.embedding is None:
            return
        expected = self._sink.embedding_length(observation.model)
        given = len(observation.embedding)
        if expected is not None and given != expected:
            rule = f"a list of {given} is not valid: the reference's have {expected} numbers; send as many"
            raise IngestError(422, f"{at}embedding", rule)

    def _known(self, model: str, field: str) -> None:
        if not can_be_label(model):
            what = f"a line of 1 to {MAX_NAME_CHARACTERS} characters that can be printed"
            raise IngestError(422, field, f"{model!r} is not valid: the name of a model is {what}; send one")
        if not self._sink.accepts(model):
            rule = f"{model!r} is not valid: it is not watched here; send the name of a model that is"
            raise IngestError(422, field, rule)

    def _taken(self, accepted: int, *, is_full: bool) -> Response:
        if not is_full:
            return _json(202, Accepted(accepted=accepted))
        refused = Refused(error="the queue is full; send the rest again later", accepted=accepted)
        return _json(429, refused, self._later)

    def _refusal(self, error: IngestError) -> Response:
        headers = {401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}, 429: self._later}
        return _json(error.status, Refused(error=str(error), field=error.field), headers.get(error.status))


def _json(status: int, body: BaseModel, headers: dict[str, str] | None = None) -> Response:
    content = body.model_dump_json(exclude_none=True)
    return Response(content, status, headers, media_type="application/json")

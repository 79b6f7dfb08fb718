"""Observations sent to a collector: the ingest API of a sidecar or another exporter.

Several processes of one service so share one detector and one truth, and detection leaves the
service's process. :meth:`CollectorClient.submit` appends and returns; a background thread sends.
"""

from __future__ import annotations

import http.client
import logging
import os
import random
import secrets
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, fields

import numpy as np
import orjson

from exporter.arrays import on_host
from exporter.observation import Observation
from exporter.processors.forward.connection import Connection

log = logging.getLogger(__name__)

_ROUTE = "/v1/observations"
_SENT_FIELDS = tuple(item.name for item in fields(Observation) if item.name != "source")
_REFUSED = frozenset((400, 413, 422))
_FIRST_BACKOFF_SECONDS = 0.1

Batch = list[bytes]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The account of a client: ``submitted = sent + dropped + queued`` at any instant."""

    submitted: int
    sent: int
    dropped: dict[str, int]
    queued: int
    retries: int


class CollectorClient:
    """Sends observations in batches, from a thread of its own. What waits is bytes.

    While the collector is away, up to ``max_items`` and ``max_bytes`` wait for it; what comes beyond
    is dropped and counted. A batch carries an idempotency key, so that a repeat after a lost response
    counts nothing twice. An observation that the collector refuses is dropped alone.

    The thread starts with the first submission in a process, so that a client made before a fork works
    in every child; what waited in the parent stays the parent's.

    Parameters
    ----------
    url
        As the configuration takes it: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/path``.
    token
        Bearer token of the collector's admin listener.
    max_items, max_bytes
        Bounds of what waits, the batch under way included.
    max_batch, max_batch_bytes
        Bounds of a request.
    flush_interval_seconds
        How long an observation waits for others at most.
    timeout_seconds
        For connecting and for the response to a batch.
    max_backoff_seconds
        The longest pause between attempts.
    """

    _queued_bytes: int
    _stopping: threading.Event

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        max_items: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        max_batch: int = 500,
        max_batch_bytes: int = 1024 * 1024,
        flush_interval_seconds: float = 0.1,
        timeout_seconds: float = 5.0,
        max_backoff_seconds: float = 10.0,
    ) -> None:
        self._connection = Connection(url, timeout_seconds)
        self._headers = {"content-type": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_batch = max_batch
        self._max_batch_bytes = max_batch_bytes
        self._flush_interval_seconds = flush_interval_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._random = random.Random()  # noqa: S311 - it spreads attempts in time, and guards nothing
        self._begin()

    def submit(self, observation: Observation) -> bool:
        """Queue an observation; False if it was dropped, which is counted. Never waits, never raises."""
        if self._pid != os.getpid():
            self._begin()
        try:
            item = _encoded(observation)
        except Exception:
            log.exception("an observation could not be encoded for the collector")
            item = b""
        with self._lock:
            self._submitted += 1
            if self._stopping.is_set():
                reason = "stopped"
            elif not item:
                reason = "failed"
            elif self._queued > self._max_items:  # this one is among them
                reason = "queue_full"
            elif self._queued_bytes + len(item) > self._max_bytes:
                reason = "queue_bytes"
            else:
                self._waiting.append(item)
                self._queued_bytes += len(item)
                if self._thread is None:
                    self._start()
                return True
            self._dropped[reason] += 1
            return False

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Send what waits, within the time given; count the rest, and what comes later, as dropped."""
        self._deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds + 1.0)
        with self._lock:
            self._given_up = True
            self._dropped["stopped"] += self._queued
            self._queued_bytes = 0
            self._waiting.clear()

    @property
    def account(self) -> Forwarded:
        """What became of everything submitted in this process."""
        with self._lock:
            dropped = {reason: count for reason, count in self._dropped.items() if count}
            return Forwarded(self._submitted, self._sent, dropped, self._queued, self._retries)

    @property
    def _queued(self) -> int:
        return self._submitted - self._sent - self._dropped.total()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._submitted = self._sent = self._retries = self._queued_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._given_up = False
        self._deadline = float("inf")
        self._warned = False
        self._key = secrets.token_hex(8)
        self._batches = 0
        self._connection.close()
        self._pid = os.getpid()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="inference-exporter-forward", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while True:
            stopping = self._stopping.wait(self._flush_interval_seconds)
            while batch := self._next_batch():
                try:
                    self._deliver(batch)
                except Exception:
                    log.exception("a batch of observations could not be sent")
                    self._settle(batch, dropped="failed")
                if time.monotonic() > self._deadline:
                    break
            if stopping:
                self._connection.close()
                return

    def _next_batch(self) -> Batch:
        batch: Batch = []
        size = 0
        with self._lock:
            while self._waiting and len(batch) < self._max_batch:
                size += len(self._waiting[0])
                if batch and size > self._max_batch_bytes:
                    break
                batch.append(self._waiting.popleft())
        return batch

    def _deliver(self, batch: Batch) -> None:
        """Send a batch until it is taken, or refused piece by piece, or the client has to stop."""
        body = b"[" + b",".join(batch) + b"]"
        self._batches += 1
        key = f"{self._key}:{self._batches}"
        pause = _FIRST_BACKOFF_SECONDS
        while True:
            status, wait = self._attempt(body, key)
            if 200 <= status < 300:
                self._warned = False
                self._settle(batch)
                return
            if status in _REFUSED:
                if len(batch) == 1:
                    self._settle(batch, dropped="refused")
                    return
                middle = len(batch) // 2
                self._deliver(batch[:middle])
                self._deliver(batch[middle:])
                return
            with self._lock:
                self._retries += 1
            pause = min(self._max_backoff_seconds, pause * 2 if wait is None else wait)
            if not self._pause(pause * self._random.uniform(0.5, 1.0) if wait is None else pause):
                self._settle(batch, dropped="stopped")
                return

    def _attempt(self, body: bytes, key: str) -> tuple[int, float | None]:
        """Send once; returns the status (0 without a response) and how long to wait, if it was said."""
        try:
            status, headers, text = self._connection.post(
                _ROUTE, body, {**self._headers, "idempotency-key": key}
            )
        except (OSError, http.client.HTTPException) as error:
            self._warn(f"{type(error).__name__}: {error}")
            return 0, None
        if status in _REFUSED:
            log.warning("the collector refused observations: %s", text[:200].decode("utf-8", "replace"))
        elif status != 429 and status >= 300:
            self._warn(f"status {status}")
        retry_after = headers.get("retry-after", "")
        return status, float(retry_after) if status == 429 and retry_after.isdigit() else None

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("the collector %s does not take observations (%s)", self._connection.url, reason)

    def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt; False if there is no time for one."""
        if not self._stopping.is_set():
            self._stopping.wait(seconds)
            return True
        left = self._deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(seconds, left))
        return time.monotonic() < self._deadline

    def _settle(self, batch: Batch, dropped: str | None = None) -> None:
        with self._lock:
            if self._given_up:  # by stop(), which counted them
                return
            self._queued_bytes -= sum(map(len, batch))
            if dropped is None:
                self._sent += len(batch)
            else:
                self._dropped[dropped] += len(batch)


def _encoded(observation: Observation) -> bytes:
    """An observation as JSON that the ingest API takes."""
    document = {}
    for name in _SENT_FIELDS:
        value = getattr(observation, name)
        if value is None:
            continue
        if name in ("embedding", "features") and hasattr(value, "shape"):
            value = np.ascontiguousarray(on_host(value), np.float32)
        document[name] = value
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

"""Observations sent to a collector: the ingest API of a sidecar or another exporter.

Several processes of one service so share one detector and one truth, and detection leaves the
service's process. :meth:`CollectorClient.submit` appends and returns; a background thread sends.
"""

from __future__ import annotations

import http.client
import logging
import random
import secrets
import socket
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

import numpy as np
import orjson

from exporter.arrays import on_host
from exporter.config import CollectorConfig, QueueConfig
from exporter.observation import Observation

log = logging.getLogger(__name__)

_ROUTE = "/v1/observations"
_SENT_FIELDS = tuple(
    item.name for item in fields(Observation) if item.name not in ("source", "feature_names")
)
_REFUSED = frozenset((400, 413, 422))
_FIRST_BACKOFF_SECONDS = 0.1
_TIMEOUT_SECONDS = 5.0  # for connecting, and for each wait for bytes of the response
_MAX_BATCH_BYTES = 1024 * 1024
_MAX_RESPONSE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The account of a client: ``submitted = sent + dropped + queued`` at any instant."""

    submitted: int
    sent: int
    dropped: dict[str, int]
    queued: int


class CollectorClient:
    """Sends observations in batches, from a thread of its own. What waits is bytes.

    While the collector is away, up to ``queue.max_items`` and ``queue.max_bytes`` wait for it, the batch
    under way included; what comes beyond is dropped and counted. A batch carries an idempotency key, so
    that a repeat after a lost response counts nothing twice. An observation that the collector refuses is
    dropped alone.

    The thread starts with the first submission. A client is of one process: a child makes its own.
    """

    max_batch = 500
    flush_interval_seconds = 0.1  # how long an observation waits for others
    max_backoff_seconds = 10.0

    def __init__(self, config: CollectorConfig, queue: QueueConfig) -> None:
        self._url = config.url
        self._connection, self._path = _connection(config.url)
        self._headers = {"content-type": "application/json"}
        if config.token is not None:
            self._headers["authorization"] = f"Bearer {config.token}"
        self._queue = queue
        self._random = random.Random()  # noqa: S311 - it spreads attempts in time, and guards nothing
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._submitted = self._queued_bytes = 0
        self._outcomes: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._given_up = self._warned = False
        self._key = secrets.token_hex(8)
        self._batches = 0

    def submit(self, observation: Observation) -> bool:
        """Queue an observation; False if it was dropped, which is counted. Never waits, never raises."""
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
            elif self._queued > self._queue.max_items:  # this one is among them
                reason = "queue_full"
            elif self._queued_bytes + len(item) > self._queue.max_bytes:
                reason = "queue_bytes"
            else:
                self._waiting.append(item)
                self._queued_bytes += len(item)
                if self._thread is None:
                    name = "inference-exporter-forward"
                    self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
                    self._thread.start()
                return True
            self._outcomes[reason] += 1
            return False

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Send what waits, within the time given; count the rest, and what comes later, as dropped."""
        self._deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds + 1.0)
        with self._lock:
            self._given_up = True
            self._outcomes["stopped"] += self._queued
            self._queued_bytes = 0
            self._waiting.clear()

    @property
    def account(self) -> Forwarded:
        """What became of everything submitted."""
        with self._lock:
            dropped = {reason: n for reason, n in self._outcomes.items() if n and reason != "sent"}
            return Forwarded(self._submitted, self._outcomes["sent"], dropped, self._queued)

    @property
    def _queued(self) -> int:
        return self._submitted - self._outcomes.total()

    def _loop(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(self.flush_interval_seconds)
            while batch := self._next_batch():
                try:
                    self._deliver(batch)
                except Exception:
                    log.exception("a batch of observations could not be sent")
                    self._settle(batch, "failed")
                if time.monotonic() > self._deadline:
                    break
        self._connection.close()

    def _next_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        with self._lock:
            while self._waiting and len(batch) < self.max_batch:
                size += len(self._waiting[0])
                if batch and size > _MAX_BATCH_BYTES:
                    break
                batch.append(self._waiting.popleft())
        return batch

    def _deliver(self, batch: list[bytes]) -> None:
        """Send a batch until it is taken, or refused piece by piece, or the client has to stop."""
        body = b"[" + b",".join(batch) + b"]"
        self._batches += 1
        headers = {**self._headers, "idempotency-key": f"{self._key}:{self._batches}"}
        pause = _FIRST_BACKOFF_SECONDS
        while True:
            status, retry_after = self._attempt(body, headers)
            if status in _REFUSED and len(batch) > 1:
                middle = len(batch) // 2
                self._deliver(batch[:middle])
                self._deliver(batch[middle:])
                return
            if status in _REFUSED or 200 <= status < 300:
                self._settle(batch, "refused" if status in _REFUSED else "sent")
                return
            pause = min(self.max_backoff_seconds, pause * 2 if retry_after is None else retry_after)
            seconds = pause * self._random.uniform(0.5, 1.0) if retry_after is None else pause
            wait = time.sleep if self._stopping.is_set() else self._stopping.wait
            wait(max(0.0, min(seconds, self._deadline - time.monotonic())))
            if time.monotonic() >= self._deadline:
                self._settle(batch, "stopped")
                return

    def _attempt(self, body: bytes, headers: dict[str, str]) -> tuple[int, float | None]:
        """Send once; returns the status (0 without a response) and how long to wait, if it was said."""
        connection = self._connection
        was_kept = connection.sock is not None
        try:
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            text = response.read(_MAX_RESPONSE_BYTES + 1)
            if len(text) > _MAX_RESPONSE_BYTES:
                raise http.client.HTTPException("the response is longer than the ingest API's are")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if was_kept and isinstance(error, ConnectionError):
                # The collector had closed an idle connection; the key makes a repeat harmless.
                return self._attempt(body, headers)
            self._warn(f"{type(error).__name__}: {error}")
            return 0, None
        status = response.status
        if status in _REFUSED:
            log.warning("the collector refused observations: %s", text[:200].decode("utf-8", "replace"))
        elif status < 300:
            self._warned = False
        elif status != 429:
            self._warn(f"status {status}")
        retry_after = response.getheader("retry-after", "")
        return status, float(retry_after) if status == 429 and retry_after.isdigit() else None

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("the collector %s does not take observations (%s)", self._url, reason)

    def _settle(self, batch: list[bytes], outcome: str) -> None:
        with self._lock:
            if not self._given_up:  # by stop(), which counted them
                self._queued_bytes -= sum(map(len, batch))
                self._outcomes[outcome] += len(batch)


def _encoded(observation: Observation) -> bytes:
    """An observation as JSON that the ingest API takes."""
    document = {name: value for name in _SENT_FIELDS if (value := getattr(observation, name)) is not None}
    if not observation.version:  # a collector of an earlier release knows no such field
        del document["version"]
    for name in ("embedding", "features"):
        if hasattr(value := document.get(name), "shape"):
            document[name] = np.ascontiguousarray(on_host(value), np.float32)
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is made when it is needed, and made again when it was lost; and the API's path."""
    if url.startswith("unix:"):
        return _UnixConnection(url.removeprefix("unix:")), _ROUTE
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    return connection, parts.path.rstrip("/") + _ROUTE


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

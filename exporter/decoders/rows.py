"""What the protocols share: vectors that are distributions, and features out of requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.decoders.registry import Reading, identified
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

MAX_INSTANCES = 65_536
MAX_REQUEST_EMBEDDING = 4096
SUM_TOLERANCE = 0.02

_NUMBERS = frozenset((int, float))


def numeric(row: Any) -> bool:
    """Whether a value is a non-empty flat list of numbers (booleans are none)."""
    return isinstance(row, list) and bool(row) and _NUMBERS.issuperset(map(type, row))


def is_distribution(probabilities: Iterable[float]) -> bool:
    """Whether numbers lie in 0..1 and sum to 1, as far as half precision can tell."""
    total = 0.0
    for probability in probabilities:
        if not 0.0 <= probability <= 1.0:
            return False
        total += probability
    return abs(total - 1.0) <= SUM_TOLERANCE


def vector_reading(row: list[Any]) -> Reading:
    """A reading from one instance's output vector.

    A distribution gives its arg max as class and its maximum as confidence, a single number is a
    value, and any other vector is an embedding: logits and hidden states are good places to look for
    drift.
    """
    if not numeric(row):
        return {}
    if len(row) == 1:
        return {"value": row[0]}
    if is_distribution(row):
        best = max(range(len(row)), key=row.__getitem__)
        return {"predicted_class": best, "confidence": row[best]}
    return {"embedding": row}


def add_row(reading: Reading, row: Any) -> None:
    """Lay one instance of a request into its reading.

    It becomes its features and, where the answer had no embedding and the row is numeric, also its
    embedding.
    """
    if isinstance(row, dict):
        reading["features"] = row
    elif isinstance(row, list) and row:
        reading["features"] = row
        if "embedding" not in reading and len(row) <= MAX_REQUEST_EMBEDDING and numeric(row):
            reading["embedding"] = row


def with_request_id(readings: list[Reading], exchange: Exchange, known: Any = None) -> list[Reading]:
    """The readings with ``known`` as identifier, or the one in the ``x-request-id`` headers."""
    if known is not None and known != "" and isinstance(known, (str, int)) and not isinstance(known, bool):
        return identified(readings, known)
    for headers in (exchange.response_headers, exchange.request_headers):
        for name, value in headers:
            if name == b"x-request-id":
                if value:
                    return identified(readings, value.decode("utf-8", "replace"))
                break
    return readings


def marks(*names: str) -> re.Pattern[bytes]:
    """What finds one of some names in a body of JSON, for :func:`may_hold`."""
    # The set of one keeps the expression without a literal prefix: the search for one is slower than
    # the search for a character, and quotes are rare in what is long.
    return re.compile(b'["](?:%s)"' % b"|".join(re.escape(name).encode() for name in names))


def may_hold(exchange: Exchange, marks: re.Pattern[bytes]) -> bool:
    """Whether the request's body may hold one of some names; a body that is encoded always may."""
    body = exchange.request_body
    if not body:
        return False
    if marks.search(body) is not None:
        return True
    return header(exchange.request_headers, b"content-encoding") is not None


def limited(count: int) -> None:
    """Refuse an exchange that would become more observations than a whole batch of the worker."""
    if count > MAX_INSTANCES:
        raise PayloadError(
            "unreadable", f"the answer has {count} instances; an exchange may have up to {MAX_INSTANCES}"
        )


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rows of logits (n, k) as rows of probabilities (n, k) float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials: npt.NDArray[np.float64] = np.exp(shifted)
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials

"""Predictions in headers of the response, for services whose bodies say nothing."""

from __future__ import annotations

from exporter.decoders.base import Reading, with_request_id
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

_FIELDS = {
    "predicted_class": b"x-predicted-class",
    "confidence": b"x-confidence",
    "value": b"x-prediction-value",
}


def read_headers(exchange: Exchange) -> list[Reading]:
    """One reading: what ``x-predicted-class`` and its like say."""
    reading: Reading = {
        name: value.decode("utf-8", "replace")
        for name, key in _FIELDS.items()
        if (value := header(exchange.response_headers, key)) is not None
    }
    if not reading:
        wanted = ", ".join(key.decode() for key in _FIELDS.values())
        raise PayloadError("no_prediction", f"the response has none of the headers {wanted}")
    return with_request_id([reading], exchange)

"""Predictions in headers of the response, for services whose bodies say nothing."""

from __future__ import annotations

from exporter.decoders.base import Reading
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

HEADER_FIELDS = {
    "predicted_class": b"x-predicted-class",
    "confidence": b"x-confidence",
    "value": b"x-prediction-value",
    "request_id": b"x-request-id",
}


def read_headers(exchange: Exchange) -> list[Reading]:
    """One reading: what ``x-predicted-class`` and its like say."""
    reading: Reading = {}
    for name, key in HEADER_FIELDS.items():
        value = header(exchange.response_headers, key)
        if value is None and name == "request_id":
            value = header(exchange.request_headers, key)
        if value is not None:
            reading[name] = value.decode("utf-8", "replace")
    if not reading.keys() - {"request_id"}:
        wanted = ", ".join(key.decode() for key in HEADER_FIELDS.values())
        raise PayloadError("no_prediction", f"the response has none of the headers {wanted}")
    return [reading]

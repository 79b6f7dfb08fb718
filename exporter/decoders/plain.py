"""Plain JSON, as home-made services and the many small serving frameworks give it: known by the usual names.

Also read are arrays without any name, and a document that was written as JSON twice.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from exporter.config.capture import Numbers
from exporter.decoders.base import Reading, parse_json, response_json, with_request_id
from exporter.decoders.features import add_request, rows_asked
from exporter.decoders.items import batch, instances
from exporter.decoders.names import REQUEST_ID_NAMES
from exporter.decoders.objects import distribution, fields, named_number
from exporter.decoders.vectors import Context, numeric
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange


def read_plain(exchange: Exchange, numbers: Numbers = "auto") -> list[Reading]:
    """One reading for each instance; ``numbers`` says what a list of numbers without a name is."""
    return read_document(response_json(exchange), exchange, numbers)


def read_document(document: Any, exchange: Exchange, numbers: Numbers = "auto") -> list[Reading]:
    """As :func:`read_plain`, for a response that is parsed already."""
    request_id = None
    if isinstance(document, dict) and (reading := fields(document)):
        readings = [reading]
    else:
        if isinstance(document, str) and document[:1] in ("{", "["):
            document = parse_json(document.encode("utf-8", "replace"), "text of the response")
        readings = _several(document, Context(numbers, partial(rows_asked, exchange)))
        if isinstance(document, dict):
            request_id = next((document[name] for name in REQUEST_ID_NAMES if name in document), None)
    if "request_id" not in readings[0]:
        with_request_id(readings, exchange, request_id)
    add_request(readings, exchange)
    return readings


def _several(document: Any, context: Context) -> list[Reading]:
    """The readings of a document that is no single object with a usual name."""
    readings: list[Reading] = []
    if isinstance(document, dict):
        readings = instances(document, context)
        if not readings and (reading := distribution(document) or named_number(document)):
            readings = [reading]
    elif isinstance(document, list):
        readings = batch(document, context)
    if not readings:
        raise PayloadError("no_prediction", _why(document))
    return readings


def _why(document: Any) -> str:
    if numeric(document):
        return "the response is a list of numbers, and the request does not say of how many instances"
    if isinstance(document, list | dict):
        return "the response has none of the usual names of a prediction"
    return "the response is a bare text, number or nothing"

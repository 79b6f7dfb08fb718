"""Fields by address: dotted paths, headers and JMESPath, as ``capture.fields`` gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from exporter.config import FieldsConfig
from exporter.decoders.base import Reading, identified, limited, request_json, response_json
from exporter.errors import ConfigError, PayloadError
from exporter.http.exchange import Exchange, header

_Getter = Callable[["_Documents"], Any]
_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


class _Documents:
    """The two bodies of an exchange, each parsed at most once and only if asked for."""

    __slots__ = ("_request", "_response", "exchange")
    _UNREAD = object()

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._request: Any = self._UNREAD
        self._response: Any = self._UNREAD

    @property
    def request(self) -> Any:
        if self._request is self._UNREAD:
            self._request = request_json(self.exchange)
        return self._request

    @property
    def response(self) -> Any:
        if self._response is self._UNREAD:
            self._response = response_json(self.exchange)
        return self._response


class FieldMapping:
    """The addresses of ``capture.fields``, compiled once.

    Raises
    ------
    ConfigError
        If an address cannot be parsed.
    """

    def __init__(self, fields: FieldsConfig) -> None:
        given = fields.model_dump(exclude_none=True)
        self._getters = {name: _getter(f"capture.fields.{name}", address) for name, address in given.items()}
        # Where all fields are names in the response, as they mostly are, nothing has to be walked.
        self._keys = _response_keys(given)

    @property
    def empty(self) -> bool:
        """Whether no field has an address."""
        return not self._getters

    def read(self, exchange: Exchange) -> list[Reading]:
        """One reading with every field that stands where its address says.

        Where class, confidence or value is a list, or embedding a list of lists, the exchange is a
        batch and gives one reading for each item; what is not a list then holds for all of them.
        """
        reading: Reading = {}
        if self._keys is not None:
            document = response_json(exchange)
            if isinstance(document, dict):
                for name, key in self._keys:
                    value = document.get(key)
                    if value is not None:
                        reading[name] = value
        else:
            documents = _Documents(exchange)
            for name, get in self._getters.items():
                value = get(documents)
                if value is not None:
                    reading[name] = value
        if not reading:
            raise PayloadError("no_prediction", "none of capture.fields is in this exchange")
        return _instances(reading)


def walk(document: Any, steps: tuple[str | int, ...]) -> Any:
    """Follow names and indices into a parsed document; None where the path ends early."""
    for step in steps:
        if isinstance(step, int):
            if not isinstance(document, list) or not -len(document) <= step < len(document):
                return None
            document = document[step]
        elif isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    return document


def _instances(reading: Reading) -> list[Reading]:
    """One reading for each instance of a batch whose fields are columns."""
    columns = {
        name: value for name, value in reading.items() if isinstance(value, list) and _is_column(name, value)
    }
    if not columns:
        return [reading]
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise PayloadError("unreadable", f"capture.fields name lists of different lengths: {sorted(lengths)}")
    (count,) = lengths
    limited(count)
    if not count:
        raise PayloadError("no_prediction", "capture.fields name empty lists")
    shared = {name: value for name, value in reading.items() if name not in columns}
    request_id = shared.pop("request_id", None)
    readings = [
        {**shared, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)
    ]
    return readings if request_id is None else identified(readings, request_id)


def _is_column(name: str, value: list[Any]) -> bool:
    if name in ("embedding", "features"):
        return bool(value) and isinstance(value[0], (list, dict))
    return True


def _response_keys(given: dict[str, str]) -> list[tuple[str, str]] | None:
    """(field, key) where each address is a single name in the response; else None."""
    keys = []
    for field, address in given.items():
        path = address.removeprefix("response.")
        if address.startswith(("header:", "request-header:", "request.")) or path.startswith("jmespath:"):
            return None
        steps = parse_path(f"capture.fields.{field}", path)
        if len(steps) > 1 or not isinstance(steps[0], str):
            return None
        keys.append((field, steps[0]))
    return keys


def _getter(key: str, address: str) -> _Getter:
    if address.startswith("header:"):
        return _header_getter(address.removeprefix("header:"), of_request=False)
    if address.startswith("request-header:"):
        return _header_getter(address.removeprefix("request-header:"), of_request=True)
    of_request = address.startswith("request.")
    path = address.removeprefix("request.").removeprefix("response.")
    if path.startswith("jmespath:"):
        return _jmespath_getter(key, path.removeprefix("jmespath:"), of_request=of_request)
    steps = parse_path(key, path)
    if of_request:
        return lambda documents: walk(documents.request, steps)
    return lambda documents: walk(documents.response, steps)


def _header_getter(name: str, *, of_request: bool) -> _Getter:
    wanted = name.strip().lower().encode()

    def get(documents: _Documents) -> Any:
        exchange = documents.exchange
        value = header(exchange.request_headers if of_request else exchange.response_headers, wanted)
        return None if value is None else value.decode("utf-8", "replace")

    return get


def _jmespath_getter(key: str, expression: str, *, of_request: bool) -> _Getter:
    import jmespath

    try:
        compiled = jmespath.compile(expression)
    except jmespath.exceptions.JMESPathError as error:
        raise ConfigError(f"{key}: {expression!r} is not a JMESPath expression: {error}") from None

    def get(documents: _Documents) -> Any:
        try:
            return compiled.search(documents.request if of_request else documents.response)
        except jmespath.exceptions.JMESPathError as error:
            raise PayloadError("unreadable", f"{key}: {error}") from None

    return get


def parse_path(key: str, path: str) -> tuple[str | int, ...]:
    """The steps of a dotted path, for :func:`walk`; ``key`` names it in the :class:`ConfigError`."""
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ConfigError(
                f"{key}: {path!r} is not a dotted path (stopped at character {position}); "
                "write names and indices such as result.scores[0], or jmespath:EXPRESSION"
            )
        steps.append(match[1] if match[1] is not None else int(match[2]))
        position = match.end()
        if position < len(path) and path[position] == ".":
            position += 1
    if not steps:
        raise ConfigError(f"{key}: the path is empty; write a dotted path such as result.label")
    return tuple(steps)

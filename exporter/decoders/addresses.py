"""Fields by address: dotted paths, headers and JMESPath, as ``capture.fields`` gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from exporter.config import FieldsConfig
from exporter.decoders.base import Reading, identified, limited, request_json, response_json
from exporter.errors import ConfigError, PayloadError, unreadable
from exporter.http.exchange import Exchange, Headers, header

_Load = Callable[[Exchange], Any]

_STEP = re.compile(r"(?:([^.\[\]]+)|\[(-?\d+)\])\.?")
_HEADERS: dict[str, _Load] = {
    "header:": attrgetter("response_headers"),
    "request-header:": attrgetter("request_headers"),
}


class _Address(NamedTuple):
    """A part of the exchange, loaded once for all fields, and how a value is found in it."""

    load: _Load
    find: Callable[[Any], Any]
    key: str | None = None
    """Where it is a mere name in the response."""


class FieldMapping:
    """The addresses of ``capture.fields``, compiled once; :class:`ConfigError` if one cannot be parsed."""

    def __init__(self, fields: FieldsConfig) -> None:
        given = fields.model_dump(exclude_none=True)
        self.addresses = {name: _address(f"capture.fields.{name}", text) for name, text in given.items()}
        # Where all fields are names in the response, as they mostly are, nothing has to be walked.
        keys = [(name, address.key) for name, address in self.addresses.items() if address.key is not None]
        self._keys = keys if len(keys) == len(self.addresses) else None

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
            loaded: dict[_Load, Any] = {}
            for name, (load, find, _) in self.addresses.items():
                if load not in loaded:
                    loaded[load] = load(exchange)
                value = find(loaded[load])
                if value is not None:
                    reading[name] = value
        if not reading:
            raise PayloadError("no_prediction", "none of capture.fields is in this exchange")
        return _instances(reading)


def _instances(reading: Reading) -> list[Reading]:
    """One reading for each instance of a batch whose fields are columns."""
    columns = {name: value for name, value in reading.items() if _is_column(name, value)}
    if not columns:
        return [reading]
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise unreadable(f"capture.fields name lists of different lengths: {sorted(lengths)}")
    (count,) = lengths
    limited(count)
    if not count:
        raise PayloadError("no_prediction", "capture.fields name empty lists")
    shared = {name: value for name, value in reading.items() if name not in columns}
    request_id = shared.pop("request_id", None)
    rows = zip(*columns.values(), strict=True)
    readings = [{**shared, **dict(zip(columns, row, strict=True))} for row in rows]
    return readings if request_id is None else identified(readings, request_id)


def _is_column(name: str, value: Any) -> bool:
    if name in ("embedding", "features") and isinstance(value, list):
        return bool(value) and isinstance(value[0], (list, dict))
    return isinstance(value, list)


def _address(key: str, text: str) -> _Address:
    for prefix, load in _HEADERS.items():
        if text.startswith(prefix):
            return _Address(load, _header(text.removeprefix(prefix)))
    of_request = text.startswith("request.")
    load = request_json if of_request else response_json
    path = text.removeprefix("request.").removeprefix("response.")
    if path.startswith("jmespath:"):
        return _Address(load, _jmespath(key, path.removeprefix("jmespath:")))
    steps = parse_path(key, path)
    name = steps[0] if len(steps) == 1 and not of_request and isinstance(steps[0], str) else None
    return _Address(load, lambda document: walk(document, steps), name)


def _header(name: str) -> Callable[[Any], Any]:
    wanted = name.strip().lower().encode()

    def find(headers: Headers) -> str | None:
        value = header(headers, wanted)
        return None if value is None else value.decode("utf-8", "replace")

    return find


def _jmespath(key: str, expression: str) -> Callable[[Any], Any]:
    import jmespath

    try:
        compiled = jmespath.compile(expression)
    except jmespath.exceptions.JMESPathError as error:
        raise ConfigError(f"{key}: {expression!r} is not a JMESPath expression: {error}") from None

    def find(document: Any) -> Any:
        try:
            return compiled.search(document)
        except jmespath.exceptions.JMESPathError as error:
            raise unreadable(f"{key}: {error}") from None

    return find


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
    if not steps:
        raise ConfigError(f"{key}: the path is empty; write a dotted path such as result.label")
    return tuple(steps)


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

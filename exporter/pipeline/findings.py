"""What was found in a model's last hundred exchanges: so that what is not read says why.

Names and kinds alone are kept, never a value of a body: fields, reasons, and for what could not be read the
keys that stood in it. All of it is cut in length, and what is kept is bounded, whatever comes.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from exporter.decoders.base import request_json, response_json
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

log = logging.getLogger(__name__)

LAST_EXCHANGES = 100

_MAX_PATH_CHARACTERS = 200
_MAX_KEY_CHARACTERS = 64
_MAX_KEYS = 32
_LOGGED_KEYS = 12
_MAX_DEPTH = 4
_MAX_GROUPS = 20
# A body that nobody can read is parsed once more for its keys: not each of them, and none that is long.
_OUTLINE_SECONDS = 0.5
_MAX_OUTLINED_BYTES = 1024 * 1024
# Behind these a message may go on with what stood in a body or a header.
_BEFORE_VALUES = re.compile(r"""\s*b?[:'"]""")
_ADVICE = {
    "no_prediction": "say under capture.fields where class, confidence, value or embedding stand",
    "unreadable": "name the protocol with capture.payload, or leave the path out of capture.paths",
    "body_too_large": "raise capture.max_body_bytes",
}

Refused = tuple[str, str]
"""A field, and why its value was refused."""


class _Read(NamedTuple):
    path: str
    decoder: str
    observations: int
    fields: tuple[str, ...]
    names: tuple[str, ...] | None
    refused: tuple[Refused, ...]


class _Unread(NamedTuple):
    path: str
    decoder: str
    reason: str
    why: str
    content_type: str
    request: tuple[str, ...] | None
    response: tuple[str, ...] | None


class Findings:
    """Keeps what was found; written to by one thread, read by any. ``model`` is named in the log."""

    def __init__(self, model: str, decoder: str) -> None:
        self._model = model
        self._decoder = decoder
        self._last: deque[_Unread | tuple[Any, ...]] = deque(maxlen=LAST_EXCHANGES)
        self._outlined = float("-inf")
        self._said = False
        self.exchanges = 0
        """How many there were; another number says that :meth:`status` may be another one."""

    def read(
        self, exchange: Exchange, observations: int, fields: Mapping[str, Any], refused: list[Refused]
    ) -> None:
        """An exchange was read: so many observations, the first of which has these fields.

        ``refused`` is taken, and emptied.
        """
        self.exchanges += 1
        path, names = exchange.path, None
        refusals: tuple[Refused, ...] = ()
        if len(path) > _MAX_PATH_CHARACTERS:
            path = path[:_MAX_PATH_CHARACTERS]
        if "feature_names" in fields:
            names = fields["feature_names"]
        if refused:
            refusals = tuple(refused[:_MAX_KEYS])
            refused.clear()
        decoder = exchange.read_as or self._decoder
        self._last.append((path, decoder, observations, tuple(fields), names, refusals))

    def unread(self, exchange: Exchange, error: PayloadError) -> None:
        """An exchange could not be read; the first time, the log says what would have it read."""
        self.exchanges += 1
        request = response = None
        since = exchange.ended - self._outlined
        if not self._said or not 0 <= since < _OUTLINE_SECONDS:
            self._outlined = exchange.ended
            request, response = outline_of(exchange, request_json), outline_of(exchange, response_json)
        found = _Unread(
            exchange.path[:_MAX_PATH_CHARACTERS],
            exchange.read_as or self._decoder,
            error.reason,
            without_values(str(error)),
            printable((header(exchange.response_headers, b"content-type") or b"").decode("latin-1")),
            request,
            response,
        )
        self._last.append(found)
        if not self._said:
            self._said = True
            log.warning(
                "model %s: a response to %s was not read (%s): %s; it has %s; %s",
                self._model,
                printable(found.path, _MAX_PATH_CHARACTERS),
                found.reason,
                found.why,
                ", ".join((response or ())[:_LOGGED_KEYS])
                or f"no JSON keys (content-type: {found.content_type or 'none'})",
                _ADVICE.get(found.reason, ""),
            )

    def status(self) -> dict[str, Any]:
        """What was found, as plain values: for JSON, a page, or another process."""
        return summary(tuple(self._last))  # taken at once, while another thread may append


def summary(last: tuple[_Unread | tuple[Any, ...], ...] = ()) -> dict[str, Any]:
    """What some exchanges come to."""
    # Those that were read are plain tuples until somebody asks: they are many.
    read = [_Read(*each) for each in last if not isinstance(each, _Unread)]
    unread = [each for each in last if isinstance(each, _Unread)]
    refused = Counter(why for each in read for why in each.refused)
    return {
        "exchanges": len(last),
        "read": len(read),
        "found": _found(read),
        "not_read": _not_read(unread),
        "refused": [
            {"field": field, "reason": reason, "values": count}
            for (field, reason), count in refused.most_common(_MAX_GROUPS)
        ],
    }


def outline_of(exchange: Exchange, parsed: Any) -> tuple[str, ...]:
    """The addresses in a body, with the kinds of what stands there; empty for what is no JSON."""
    body = exchange.request_body if parsed is request_json else exchange.response_body
    if len(body) > _MAX_OUTLINED_BYTES:
        return ("too long to be looked at",)
    if not body:
        return ()
    try:
        found: list[str] = []
        _outline(parsed(exchange), "", 0, found)
    except PayloadError:
        return ()
    return tuple(found)


def without_values(message: str) -> str:
    """An error's message up to where it could go on with something that stood in a body."""
    return printable(_BEFORE_VALUES.split(message, maxsplit=1)[0], _MAX_PATH_CHARACTERS)


def printable(text: str, limit: int = _MAX_KEY_CHARACTERS) -> str:
    """Text cut in length, on one line, with whatever cannot be printed written as an escape."""
    short = text[:limit]
    if not short.isprintable():
        short = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in short)
    return short if len(text) <= limit else f"{short}..."


def _outline(value: Any, address: str, depth: int, found: list[str]) -> None:
    if len(found) >= _MAX_KEYS:
        return
    if isinstance(value, dict) and value and depth < _MAX_DEPTH:
        for name, inner in value.items():
            _outline(inner, f"{address}.{printable(name)}" if address else printable(name), depth + 1, found)
    elif isinstance(value, list) and value and isinstance(value[0], dict) and depth < _MAX_DEPTH:
        _outline(value[0], f"{address}[0]", depth + 1, found)
    else:
        found.append(f"{address} ({_kind(value)})" if address else _kind(value))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        of = {_kind_of_item(item) for item in value[:_MAX_KEYS]}
        return f"list of {len(value)}" + (f" {of.pop()}" if len(of) == 1 else "")
    if isinstance(value, dict):
        return "object"
    return _kind_of_item(value).removesuffix("s")


def _kind_of_item(item: Any) -> str:
    if isinstance(item, bool):
        return "truth values"
    if isinstance(item, int | float):
        return "numbers"
    kinds: dict[type, str] = {str: "texts", list: "lists", dict: "objects"}
    return kinds.get(type(item), "nulls")


def _found(read: list[_Read]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[_Read]] = {}
    for each in read:
        groups.setdefault((each.path, each.decoder), []).append(each)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [
        {
            "path": printable(path, _MAX_PATH_CHARACTERS),
            "decoder": decoder,
            "exchanges": len(members),
            "observations": sum(each.observations for each in members),
            "fields": dict(_fields(members)),
            "features": [printable(name) for name in _last_names(members)],
        }
        for (path, decoder), members in ordered[:_MAX_GROUPS]
    ]


def _fields(read: list[_Read]) -> list[tuple[str, int]]:
    counts = Counter(field for each in read for field in each.fields)
    del counts["feature_names"]
    return counts.most_common()


def _last_names(read: list[_Read]) -> tuple[str, ...]:
    """What the features are called that serve as embedding."""
    return next((each.names for each in reversed(read) if each.names), ())[:_MAX_KEYS]


def _not_read(unread: list[_Unread]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[_Unread]] = {}
    for each in unread:
        groups.setdefault((each.path, each.reason, each.why), []).append(each)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [_group(members) for _, members in ordered[:_MAX_GROUPS]]


def _group(members: list[_Unread]) -> dict[str, Any]:
    last = members[-1]
    looked_at = [each for each in members if each.response is not None] or members
    return {
        "path": printable(last.path, _MAX_PATH_CHARACTERS),
        "decoder": last.decoder,
        "exchanges": len(members),
        "reason": last.reason,
        "why": last.why,
        "advice": _ADVICE.get(last.reason, ""),
        "content_type": last.content_type,
        "request_keys": list(looked_at[-1].request or ()),
        "response_keys": list(looked_at[-1].response or ()),
    }

"""Which model, and which version of it, an exchange speaks of, as its protocol says it.

Asked for each exchange before it is queued, in the hook between two requests: a path costs one expression,
and of a body no more is parsed than stands before the name, where that comes first.

Sources: Open Inference V2 and KServe's V1 (``/v2/models/NAME[/versions/VERSION]/infer``,
``/v1/models/NAME[/versions/VERSION]:predict``), TorchServe (``/predictions/NAME[/VERSION]``), and the
reference of OpenAI's API (``model`` in the request's body).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson

from exporter.decoders.base import request_bytes, response_bytes
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange, header

Named = tuple[str | None, str | None]
"""A model's name and version; None for what the exchange does not say."""

_IN_PATH = re.compile(
    r"/v[12]/models/([^/:]+)(?:/versions/([^/:]+)|/labels/[^/:]+)?(?=[/:]|$)"
    r"|/(?:predictions|explanations)/([^/]+)(?:/([^/]+))?/?$"
)
_MAX_REMEMBERED_LENGTH = 256
_NAME_KEYS = ("model", "model_id", "model_name")
_VERSION_KEYS = ("model_version",)
# A member of an object whose value is no list and no object, and what stands before it.
_MEMBER = re.compile(
    rb'\s*[{,]\s*"((?:[^"\\]|\\.)*)"\s*:\s*("(?:[^"\\]|\\.)*"|[^\s",{}\[\]]+)(?=\s*[,}])', re.DOTALL
)


def named_in_path(path: str) -> Named:
    """What a path says of the model that it is of; services have few, and those are remembered."""
    return _remembered(path) if len(path) <= _MAX_REMEMBERED_LENGTH else _named_in(path)


def _named_in(path: str) -> Named:
    found = _IN_PATH.search(path)
    if found is None:
        return None, None
    name, version = (found[1], found[2]) if found[1] is not None else (found[3], found[4])
    return unquote(name), None if version is None else unquote(version)


_remembered = lru_cache(1024)(_named_in)


def name_of(exchange: Exchange) -> str | None:
    """The model's name: in the path, else at the top of the request's body, else of the response's."""
    name, _ = named_in_path(exchange.path)
    if name is None:
        name = _text(_member(request_bytes, exchange, _NAME_KEYS))
    return _text(_member(response_bytes, exchange, _NAME_KEYS)) if name is None else name


def version_of(exchange: Exchange) -> str | None:
    """The model's version: in the path, else at the top of the response's body."""
    _, version = named_in_path(exchange.path)
    return _text(_member(response_bytes, exchange, _VERSION_KEYS)) if version is None else version


@lru_cache(64)
def version_reader(address: str) -> Callable[[Exchange], str | None]:
    """What reads a version where ``auto``, ``header:NAME`` or ``request-header:NAME`` says that it stands."""
    if address == "auto":
        return version_of
    kind, _, name = address.partition(":")
    key = name.strip().lower().encode("latin-1")

    def read(exchange: Exchange) -> str | None:
        headers = exchange.request_headers if kind == "request-header" else exchange.response_headers
        value = header(headers, key)
        return None if value is None else value.decode("utf-8", "replace")

    return read


def _text(value: Any) -> str | None:
    """A name as text; a number is one too."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _member(body_of: Callable[[Exchange], bytes], exchange: Exchange, keys: tuple[str, ...]) -> Any:
    """The value of the first of the keys at the top of a body that is a JSON object, or None."""
    try:
        body = body_of(exchange)
        if body[:64].lstrip()[:1] != b"{":
            return None
        place = 0
        while (found := _MEMBER.match(body, place)) is not None:
            if found[1].decode("utf-8", "replace") in keys:
                return orjson.loads(found[2])
            place = found.end()
        if body[place:].strip() == b"}":
            return None
        document = orjson.loads(body)
    except (PayloadError, orjson.JSONDecodeError):
        return None
    return next((document[key] for key in keys if key in document), None)

"""What others send, held to models: the JSON of a body, types of fields, and what a mistake is called.

A mistake is one line: the path of the field, the value received, the rule, and the fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Any, TypeVar

import numpy as np
import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema

from exporter.config.messages import key_text
from exporter.config.types import Rule
from exporter.decoders.base import decoded
from exporter.decoders.values import MAX_CLASS_CHARACTERS, MAX_REQUEST_ID_CHARACTERS, class_name
from exporter.errors import IngestError, PayloadError
from exporter.http.exchange import Headers

_MAX_EMBEDDING = 65_536
_LARGEST_SINGLE = 3.4e38
_MAX_FEATURES = 4096
_MAX_MODEL_CHARACTERS = 128
_LARGEST_INTEGER = 9 * 10**18  # of an identifier that is a number; the parser is exact up to here
_LATEST = 253_402_300_799.0  # the end of the year 9999
_SINCE_1971 = "^(197[1-9]|19[89][0-9]|[2-8][0-9]{3})-"

# Millions of empty lists are a few megabytes of JSON; as values they take hundreds, and the interpreter for
# seconds. A picture of 224 x 224 pixels has 50,000 lists.
_MAX_BRACKETS = 500_000
_SHOWN_CHARACTERS = 80
_RULES = {
    "float_type": "it must be a number; send one such as 0.5",
    "greater_than_equal": "it must be at least {ge:g}; send {ge:g} or more",
    "less_than_equal": "it must be at most {le:g}; send {le:g} or less",
    "list_type": "it must be a list; send one in square brackets",
    "model_type": "it must be an object; send one in braces",
    "too_long": "it must hold at most {max_length}; send fewer at a time",
    "too_short": "it must hold at least {min_length}; send more, or leave it out",
}

T = TypeVar("T")


class Document(BaseModel):
    """What others send: closed to unknown fields, and nothing is turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _is_closed(cls, data: Any) -> Any:
        # Left to pydantic, each of a million unknown fields would make a message.
        known = cls.model_fields
        if isinstance(data, dict) and not data.keys() <= known.keys():
            name = next(name for name in data if name not in known)
            near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
            fix = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
            raise Rule(name, data[name], f"there is no such field; {fix}")
        return data


def parsed(body: bytes, headers: Headers, max_bytes: int) -> Any:
    """The JSON document of a request's body.

    Raises
    ------
    IngestError
        413 for a body that decodes to more than ``max_bytes`` or to too many lists and objects, 415 for an
        encoding that cannot be undone, 400 for what is not JSON (NaN and nesting beyond 1024 levels are
        not).
    """
    plain = plain_body(body, headers, max_bytes)
    if (n := plain.count(b"[") + plain.count(b"{")) > _MAX_BRACKETS:
        raise IngestError(
            413,
            "",
            f"the body has {n} opening brackets, and at most {_MAX_BRACKETS} are read; send less at a time",
        )
    try:
        return orjson.loads(plain)
    except orjson.JSONDecodeError as error:
        raise IngestError(400, "", f"body is not JSON: {error}; send JSON in UTF-8") from None


def plain_body(body: bytes, headers: Headers, max_bytes: int) -> bytes:
    """A request's body with its content encoding undone; raises 413 and 415 as :func:`parsed` does."""
    try:
        return decoded(body, headers, max_bytes)
    except PayloadError as error:
        raise IngestError(413 if error.reason == "body_too_large" else 415, "", str(error)) from None


def validated(adapter: TypeAdapter[T], document: Any, at: str = "") -> T:
    """What a document says.

    Parameters
    ----------
    adapter
        Of the model it is held to.
    document
        As it was parsed.
    at
        Goes before the path of a field in an error.

    Raises
    ------
    IngestError
        422, with the path of the first field at fault.
    """
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise _explained(error, at) from None


def _explained(error: ValidationError, at: str) -> IngestError:
    item = error.errors(include_url=False)[0]
    details = item.get("ctx", {})
    broken = details.get("error")
    value = item["input"]
    # Tags of alternatives are in <>; they are no part of the document.
    path = [part for part in item["loc"] if not str(part).startswith("<")]
    if isinstance(broken, Rule):
        path.append(broken.key)
        value = broken.value
    field = at + key_text(tuple(part[:64] if isinstance(part, str) else part for part in path))
    if item["type"] == "missing":
        return IngestError(422, field, "is required and was not given; add it")
    rule = _RULES[item["type"]].format(**details) if broken is None else str(broken)
    return IngestError(422, field or "body", f"{_shown(value)} is not valid: {rule}")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return repr(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value)


def ruled(rule: str) -> WrapValidator:
    """Says ``rule`` for whatever is wrong with a value, in place of one message for each alternative."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(rule) from None

    return WrapValidator(check)


class _Text:
    """The type of text, or of a whole number that is taken as text."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        limit = self._limit
        text = Annotated[str, Field(min_length=1, max_length=limit)]
        number = Annotated[int, Field(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER)]
        rule = (
            f"it must be text of 1 to {limit} characters or a whole number up to {_LARGEST_INTEGER}; send one"
        )
        return handler.generate_schema(
            Annotated[text | number, BeforeValidator(_as_integer), AfterValidator(str), ruled(rule)]
        )


def _as_integer(value: Any) -> Any:
    # JSON knows no difference between 7 and 7.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _class(value: Any) -> str:
    text = class_name(value)
    if text is None or (isinstance(value, str) and len(value) > MAX_CLASS_CHARACTERS):
        raise ValueError(
            f"it must be text of at most {MAX_CLASS_CHARACTERS} characters, a number or a boolean; "
            "send the name of a class"
        )
    return text


def _truth(value: Any) -> str | float:
    return value if isinstance(value, float) else _class(value)


def _seconds(value: Any) -> float:
    rule = (
        "it must be a time of the years 1970 to 9999; "
        "send seconds since 1970, or a date and time such as 2026-01-31T12:00:00Z"
    )
    if isinstance(value, str) and len(value) <= 64:
        text = f"{value[:-1]}+00:00" if value[-1:] in ("Z", "z") else value
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            seconds = moment.timestamp()
        except (ValueError, OverflowError):
            raise ValueError(rule) from None
    elif isinstance(value, float | int) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise ValueError(rule)
    if not 0.0 <= seconds <= _LATEST:
        raise ValueError(rule)
    return seconds


def _countable(features: Any) -> Any:
    # Before they are looked at one by one: each that is wrong makes a message.
    if isinstance(features, dict | list) and not 1 <= len(features) <= _MAX_FEATURES:
        raise ValueError(f"it must hold 1 to {_MAX_FEATURES} features; send no more")
    return features


ModelName = Annotated[str, _Text(_MAX_MODEL_CHARACTERS)]
RequestId = Annotated[str, _Text(MAX_REQUEST_ID_CHARACTERS)]
Moment = Annotated[
    float,
    PlainValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _LATEST},
                {"type": "string", "format": "date-time", "pattern": _SINCE_1971},
            ],
            "description": "Seconds since 1970, or an ISO 8601 date and time, in UTC by default.",
        }
    ),
]
_CLASS_SCHEMA = WithJsonSchema({"type": ["string", "number", "boolean"], "maxLength": MAX_CLASS_CHARACTERS})
ClassName = Annotated[str, PlainValidator(_class), _CLASS_SCHEMA]
Truth = Annotated[str | float, PlainValidator(_truth), _CLASS_SCHEMA]
Probability = Annotated[float, Field(ge=0, le=1)]
Latency = Annotated[float, Field(ge=0)]
Embedding = Annotated[
    list[Annotated[float, Field(ge=-_LARGEST_SINGLE, le=_LARGEST_SINGLE)]],
    Field(min_length=1, max_length=_MAX_EMBEDDING, fail_fast=True),
    AfterValidator(lambda values: np.asarray(values, np.float32)),
]
_Feature = Annotated[float | str | bool | None, ruled("it must be a number, text, boolean or null; send one")]
Features = Annotated[
    Annotated[list[float], Field(min_length=1, max_length=_MAX_FEATURES, fail_fast=True), Tag("<list>")]
    | Annotated[dict[str, _Feature], Field(min_length=1, max_length=_MAX_FEATURES), Tag("<mapping>")],
    Discriminator(lambda value: "<mapping>" if isinstance(value, dict) else "<list>"),
    BeforeValidator(_countable),
]

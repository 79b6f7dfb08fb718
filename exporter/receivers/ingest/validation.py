"""What others send, held to models: the types of fields, and what a mistake is called.

A mistake is one line: the path of the field, the value received, the rule, and the fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    PlainValidator,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.config import JsonDict

from exporter.config.messages import key_text
from exporter.config.types import Rule
from exporter.decoders.values import MAX_CLASS_CHARACTERS, MAX_REQUEST_ID_CHARACTERS, class_name
from exporter.errors import IngestError
from exporter.model import MAX_NAME_CHARACTERS, NAME_PATTERN

_MAX_EMBEDDING = 65_536
_LARGEST_SINGLE = 3.4e38
_MAX_FEATURES = 4096
_LARGEST_INTEGER = 9 * 10**18  # of an identifier that is a number; the parser is exact up to here
_LATEST = 253_402_300_799.0  # the end of the year 9999
_SINCE_1971 = "^(197[1-9]|19[89][0-9]|[2-8][0-9]{3})-"
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
        known = _names(cls)
        if isinstance(data, dict) and not data.keys() <= known.keys():
            name = next(name for name in data if name not in known)
            near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
            fix = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
            raise Rule(name, data[name], f"there is no such field; {fix}")
        return data


@cache
def _names(document: type[Document]) -> dict[str, str]:
    return {field.alias or name: name for name, field in document.model_fields.items()}


def validated(adapter: TypeAdapter[T], document: Any, at: str = "") -> T:
    """What a parsed document says; a 422 has the path of the first field at fault, behind ``at``."""
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
        except (ValidationError, TypeError):  # functions of a library, as validators, raise either
            raise ValueError(rule) from None

    return WrapValidator(check)


def _text(limit: int, pattern: str | None = None) -> GetPydanticSchema:
    """Text, or a whole number that is taken as text; ``pattern`` is what its schema says, others check it."""
    extra: JsonDict | None = None if pattern is None else {"pattern": pattern}
    text = Annotated[str, Field(min_length=1, max_length=limit, json_schema_extra=extra)]
    number = Annotated[int, Field(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER)]
    rule = f"it must be text of 1 to {limit} characters or a whole number up to {_LARGEST_INTEGER}; send one"
    either = Annotated[text | number, BeforeValidator(_as_integer), AfterValidator(str), ruled(rule)]
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(either))


def _as_integer(value: Any) -> Any:
    # JSON knows no difference between 7 and 7.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _class(value: Any) -> str:
    text = class_name(value)
    if text is None or (isinstance(value, str) and len(value) > MAX_CLASS_CHARACTERS):
        what = f"text of at most {MAX_CLASS_CHARACTERS} characters, a number or a boolean"
        raise ValueError(f"it must be {what}; send the name of a class")
    return text


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        moment = datetime.fromisoformat(f"{value[:-1]}+00:00" if value.endswith(("Z", "z")) else value)
        value = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    if isinstance(value, bool) or not isinstance(value, float | int) or not 0.0 <= value <= _LATEST:
        raise ValueError
    return float(value)


def _countable(features: Any) -> Any:
    # Before they are looked at one by one: each that is wrong makes a message.
    if isinstance(features, dict | list) and not 1 <= len(features) <= _MAX_FEATURES:
        raise ValueError(f"it must hold 1 to {_MAX_FEATURES} features; send no more")
    return features


ModelName = Annotated[str, _text(MAX_NAME_CHARACTERS, NAME_PATTERN)]
Version = Annotated[str, _text(MAX_NAME_CHARACTERS)]
RequestId = Annotated[str, _text(MAX_REQUEST_ID_CHARACTERS)]
Moment = Annotated[
    float,
    PlainValidator(_seconds),
    ruled(
        "it must be a time of the years 1970 to 9999; "
        "send seconds since 1970, or a date and time such as 2026-01-31T12:00:00Z"
    ),
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
Truth = Annotated[
    str | float,
    PlainValidator(lambda value: value if isinstance(value, float) else _class(value)),
    _CLASS_SCHEMA,
]
Probability = Annotated[float, Field(ge=0, le=1)]
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

"""What single settings can hold: durations, sizes, addresses and the like, and the rules they obey.

What a rule says goes into a message behind the key and the value: "KEY: VALUE is not valid: RULE; FIX".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, Discriminator, Field

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")


class Rule(ValueError):
    """A rule between several keys of a section that is broken.

    Parameters
    ----------
    key
        Path of the key to change, from the section on.
    value
        What it was set to.
    rule
        The rule and the fix.
    """

    def __init__(self, key: str, value: Any, rule: str) -> None:
        super().__init__(rule)
        self.key = key
        self.value = value


def parse_duration(value: Any) -> Any:
    """Turn ``7d``, ``1h30m`` or ``500ms`` into seconds; numbers are seconds already."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not _DURATION.fullmatch(text):
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                "a duration is a number with a unit; write one such as 500ms, 30s, 15m, 12h or 7d"
            ) from None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", text)
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)


def _address(value: Any) -> str:
    rule = (
        "an address is HOST:PORT (port 0 to 65535) or unix:/path/to/socket; write one such as 127.0.0.1:9109"
    )
    if not isinstance(value, str):
        raise ValueError(rule)
    if value.startswith("unix:"):
        if len(value) <= len("unix:"):
            raise ValueError("a Unix socket is written unix:/path/to/socket")
        return value
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(rule)
    return value


def _upstream(value: str) -> str:
    if value.startswith("unix:"):
        return _address(value)
    if value.startswith("https://"):
        raise ValueError(
            "TLS is passed on as it comes and never begun here; "
            "write http://HOST:PORT, and let clients speak TLS with that port through the sidecar"
        )
    if not re.fullmatch(r"http://[^/\s?#@]+/?", value) or not _has_port(value):
        raise ValueError(
            "an upstream is http://HOST:PORT (port 1 to 65535) or unix:/path, and nothing behind it; "
            "write one such as http://127.0.0.1:8000"
        )
    return value.rstrip("/")


def _has_port(url: str) -> bool:
    """Whether a URL names a port that can be connected to, or none at all, which is the default one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and port != 0 and not parts.netloc.endswith(":")


def _path_pattern(value: str) -> str:
    if value.startswith("regex:"):
        try:
            re.compile(value.removeprefix("regex:"))
        except re.error as error:
            raise ValueError(
                f"the text after regex: is not a regular expression ({error}); correct it"
            ) from None
        return value
    if not value.startswith("/"):
        raise ValueError("a path is /exact, /prefix/* or regex:PATTERN; write one such as /predict")
    if "*" in value[:-1] or (value.endswith("*") and not value.endswith("/*")):
        raise ValueError("a * may only stand at the end, as /prefix/*; use regex:PATTERN for more")
    return value


def _matches(pattern: str, rule: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return check


def _not_a_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a number; write one such as 50")
    return value


def _label(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half of a character pair, which no scrape can carry; retype it") from None
    return value


def _ascending(value: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(value)):
        raise ValueError("upper bounds of buckets ascend; write them such as [1, 2, 5, 10]")
    return value


def alternative(mapping: str, sequence: str, other: str) -> Discriminator:
    """Which alternative of a union a value is meant to be; tags in <> are not shown in messages."""

    def choose(value: Any) -> str:
        if isinstance(value, Mapping | BaseModel):
            return mapping
        return sequence if isinstance(value, list | tuple) else other

    return Discriminator(choose)


Number = Annotated[float, BeforeValidator(_not_a_truth_value)]
Whole = Annotated[int, BeforeValidator(_not_a_truth_value)]
Duration = Annotated[float, BeforeValidator(_not_a_truth_value), BeforeValidator(parse_duration), Field(gt=0)]
Address = Annotated[str, BeforeValidator(_address)]
Upstream = Annotated[str, AfterValidator(_upstream)]
PathPattern = Annotated[str, AfterValidator(_path_pattern)]
Bytes = Annotated[ByteSize, BeforeValidator(_not_a_truth_value), Field(gt=0)]
LabelText = Annotated[str, AfterValidator(_label)]
Device = Annotated[
    str,
    AfterValidator(
        _matches(r"auto|cpu|cuda(:\d+)?", "a device is auto, cpu, cuda or cuda:N; write one such as cuda:1")
    ),
]
Digest = Annotated[
    str,
    AfterValidator(_matches(r"[0-9a-f]{64}", "a SHA-256 is 64 digits 0-9 and a-f; sha256sum prints it")),
]
Link = Annotated[
    str,
    AfterValidator(
        _matches(r"https?://\S+", "a link starts with http:// or https:// and has no spaces; write all of it")
    ),
]
Buckets = Annotated[tuple[Number, ...], AfterValidator(_ascending)]

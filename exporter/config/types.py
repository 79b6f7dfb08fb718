"""What single settings can hold: durations, sizes, addresses and the like, and the rules they obey.

What a rule says goes into a message behind the key and the value: "KEY: VALUE is not valid: RULE; FIX".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, Discriminator, Field

_UNITS = {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400", "w": "604800"}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
# More than any setting means, and less than the longest that a thread can wait.
_LONGEST_SECONDS = 10 * 365 * 86400.0
# A host is a name, an address, or an IPv6 address in square brackets.
_HOST_PORT = re.compile(r"(?:\[[0-9A-Za-z:.%]+\]|[^\s\[\]:/?#@]+):([0-9]{1,5})")
_EVERY_ADDRESS = {"0.0.0.0", "[::]"}  # noqa: S104 - compared with, not listened on
_THIS_HOST = _EVERY_ADDRESS | {"127.0.0.1", "[::1]", "localhost"}
_NO_USER_INFO = "an address holds no user name or password; remove what stands before the @"


class Rule(ValueError):
    """A broken rule between several keys of a section.

    It tells the path of the key to change, from the section on, what that was set to, and the rule with
    the fix. The path is text such as ``drift[0].name``, or its parts, where one of them is not a word.
    """

    def __init__(self, key: str | tuple[str | int, ...], value: Any, rule: str) -> None:
        super().__init__(rule)
        self.path = key if isinstance(key, tuple) else key_path(key)
        self.key = key if isinstance(key, str) else ".".join(map(str, key))
        self.value = value


def key_path(text: str) -> tuple[str | int, ...]:
    """The parts of a path that is written such as ``drift[0].reference``."""
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"\w+", text))


class Shown(str):
    """What the documentation calls a type, beside its validators in ``Annotated``."""

    __slots__ = ()


def parse_duration(value: Any) -> Any:
    """Turn ``7d``, ``1h30m`` or ``500ms`` into seconds; numbers are seconds already."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not _DURATION.fullmatch(text):
        try:
            return float(text)
        except ValueError:
            fix = "write one such as 500ms, 30s, 15m, 12h or 7d"
            raise ValueError(f"a duration is a number with a unit; {fix}") from None
    # In decimals, so that 350ms is 0.35 and not the float beside it.
    return float(sum(Decimal(number) * Decimal(_UNITS[unit]) for number, unit in _PART.findall(text)))


def _not_for_ever(value: float) -> float:
    if value > _LONGEST_SECONDS:
        raise ValueError("a duration is at most 10 years; give a shorter one")
    return value


def _address(value: Any) -> str:
    if not isinstance(value, str) or not (_is_socket(value) or _is_host_and_port(value, least=0)):
        rule = "an address is HOST:PORT (port 0 to 65535) or unix:/path/to/socket"
        raise ValueError(f"{rule}; write one such as 127.0.0.1:10911")
    return value


def _upstream(value: str) -> str:
    if value.startswith("https://"):
        fix = "write http://HOST:PORT, and let clients speak TLS with that port through the sidecar"
        raise ValueError(f"TLS is passed on as it comes and never begun here; {fix}")
    host = value.removeprefix("http://").removesuffix("/")
    if "@" in host and not value.startswith("unix:"):
        raise ValueError(_NO_USER_INFO)
    if _is_socket(value):
        return value
    if not value.startswith("http://") or not _is_host(host):
        rule = "an upstream is http://HOST:PORT (port 1 to 65535) or unix:/path, and nothing behind it"
        raise ValueError(f"{rule}; write one such as http://127.0.0.1:8000")
    return value.removesuffix("/")


def _collector(value: str) -> str:
    if _is_socket(value):
        return value
    scheme, _, rest = value.partition("://")
    host = rest.partition("/")[0]
    if "@" in host:
        raise ValueError(f"{_NO_USER_INFO}, and give the collector's token as collector.token")
    if scheme not in ("http", "https") or not _is_host(host) or re.search(r"[\s?#]", rest):
        rule = "a collector is http://HOST:PORT, https://HOST:PORT or unix:/path/to/socket"
        raise ValueError(f"{rule}; write one such as http://127.0.0.1:10911")
    return value


def can_both_listen(one: str, other: str) -> bool:
    """Whether two servers of this host can listen on two addresses at once.

    A name other than ``localhost`` may be another host's.
    """
    if one.startswith("unix:") or other.startswith("unix:"):
        return one.removeprefix("unix:") != other.removeprefix("unix:")
    (host, _, port), (there, _, port_there) = one.rpartition(":"), other.rpartition(":")
    if int(port) != int(port_there) or int(port) == 0:
        return True
    return not (host == there or ({host, there} & _EVERY_ADDRESS and {host, there} <= _THIS_HOST))


def _is_socket(value: str) -> bool:
    return value.startswith("unix:") and value.removeprefix("unix:").strip("/") != ""


def _is_host(value: str) -> bool:
    """Whether a text is a host, with a port of its own or the scheme's."""
    return _is_host_and_port(value, least=1) or _is_host_and_port(f"{value}:80", least=1)


def _is_host_and_port(value: str, *, least: int) -> bool:
    found = _HOST_PORT.fullmatch(value)
    return found is not None and least <= int(found[1]) <= 65535


def _path_pattern(value: str) -> str:
    if value.startswith("regex:"):
        try:
            re.compile(value.removeprefix("regex:"))
        except re.error as error:
            rule = f"the text after regex: is not a regular expression ({error})"
            raise ValueError(f"{rule}; correct it") from None
        return value
    if not value.startswith("/"):
        raise ValueError("a path is /exact, /prefix/* or regex:PATTERN; write one such as /predict")
    if "*" in value[:-1] or (value.endswith("*") and not value.endswith("/*")):
        raise ValueError("a * may only stand at the end, as /prefix/*; use regex:PATTERN for more")
    return value


def _matches(pattern: str, rule: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


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
Duration = Annotated[
    float,
    Shown("duration"),
    BeforeValidator(_not_a_truth_value),
    BeforeValidator(parse_duration),
    Field(gt=0),
    AfterValidator(_not_for_ever),
]
Address = Annotated[str, Shown("address"), BeforeValidator(_address)]
Upstream = Annotated[str, Shown("URL"), AfterValidator(_upstream)]
CollectorUrl = Annotated[str, Shown("URL"), AfterValidator(_collector)]
PathPattern = Annotated[str, Shown("path pattern"), AfterValidator(_path_pattern)]
Bytes = Annotated[ByteSize, Shown("size"), BeforeValidator(_not_a_truth_value), Field(gt=0)]
LabelText = Annotated[str, AfterValidator(_label)]
Device = Annotated[
    str,
    Shown("device"),
    _matches(r"auto|cpu|cuda(:\d+)?", "a device is auto, cpu, cuda or cuda:N; write one such as cuda:1"),
]
Digest = Annotated[
    str,
    Shown("SHA-256"),
    _matches(r"[0-9a-f]{64}", "a SHA-256 is 64 digits 0-9 and a-f; sha256sum prints it"),
]
Link = Annotated[
    str,
    Shown("URL"),
    _matches(r"https?://\S+", "a link starts with http:// or https:// and has no spaces; write all of it"),
]
Buckets = Annotated[tuple[Number, ...], AfterValidator(_ascending)]

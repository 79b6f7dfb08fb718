"""What a mistake in the configuration is called: key, value received, rule and fix, in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from exporter.config.base import Section
from exporter.config.schema import Config
from exporter.config.types import Rule, key_path

Path = tuple[Any, ...]
Origins = dict[Path, str]
"""Where the value at a path was set: a line of the file, a variable, an option; "" if by code."""

_SECRET = re.compile(r"token|secret|passw|credential|api_?key", re.IGNORECASE)
_ADDRESS = re.compile(r"upstream|listen|url|collector")
_USER_INFO = re.compile(r"(?<=//).*", re.DOTALL)
_USER_INFO_IN_ADDRESS = re.compile(r"^(['\"\[]*(?:https?://)?).*", re.DOTALL)
_NAMES_A_KEY = ("extra_forbidden", "invalid_key")
_SHOWN_CHARACTERS = 80

# By pydantic's type of the error, or the word that it begins with.
_RULES = {
    "int": "it must be a whole number; write one such as 50",
    "float": "it must be a number; write one such as 0.5",
    "finite_number": "it must be a finite number; write one such as 0.5",
    "greater_than": "it must be more than {gt:g}; give a larger one",
    "greater_than_equal": "it must be at least {ge:g}; give {ge:g} or more",
    "less_than": "it must be less than {lt:g}; give a smaller one",
    "less_than_equal": "it must be at most {le:g}; give {le:g} or less",
    "string_type": "it must be text; put it in quotes",
    "string_too_short": "it is too short; give {min_length} characters or more",
    "string_too_long": "it is too long; give {max_length} characters or fewer",
    "bool": "it must be true or false; write one of the two",
    "tuple": "it must be a list; write it in square brackets, or each item on a line behind a dash",
    "byte": "it must be a size in bytes; write one such as 512KiB, 1MiB or 1000000",
    "invalid_key": "keys are text; put it in quotes",
}


def explain(error: ValidationError, origins: Origins) -> str:
    """One line for each mistake, which says where the value was set as well."""
    lines = [_explain(item, origins) for item in error.errors(include_url=False)]
    return "\n".join(dict.fromkeys(lines))


def key_text(path: Path) -> str:
    """A path as it is written in a message: ``drift[0].reference``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def placed(line: str, origins: Origins) -> str:
    """A message that begins with a key, and where that was set."""
    key, separator, rest = line.partition(": ")
    origin = _origin(key_path(key), origins, within=False)
    return f"{key} ({origin}){separator}{rest}" if origin else line


def annotation_at(path: Path) -> Any:
    """The type of the setting at a path, or None where there is no such setting."""
    annotation: Any = Config
    for part in path:
        if getattr(annotation, "__origin__", None) is dict:
            annotation = get_args(annotation)[1]
            continue
        owner = next((section for section in _sections(annotation) if part in section.model_fields), None)
        if owner is not None:
            annotation = owner.model_fields[part].annotation
        elif str(part).isdecimal():
            annotation = _item(annotation)
        else:
            return None
    return annotation


def written_out(path: Path, value: Any) -> Any:
    """A plain text where a section can stand, as that section; anything else as it is."""
    return next((section.written_out(value) for section in _sections(annotation_at(path))), value)


def is_text(annotation: Any) -> bool:
    """Whether a setting is text, or nothing."""
    alternatives = [each for each in get_args(annotation) or (annotation,) if each is not type(None)]
    return all(each is str or str in get_args(each)[:1] for each in alternatives)


def _explain(item: Any, origins: Origins) -> str:
    place, value = item["loc"], item.get("input")
    path: Path = tuple(
        part
        for number, part in enumerate(place, 1)
        # An alternative's tag, such as <path>; the last part of an unknown key is the user's own.
        if not str(part).startswith("<") or (number == len(place) and item["type"] in _NAMES_A_KEY)
    )
    if item["type"] == "invalid_key":
        path, value = (*path[:-1], str(path[-1])), path[-1]
    broken = item.get("ctx", {}).get("error")
    if isinstance(broken, Rule):
        path, value = (*path, *broken.path), _given(value, broken)
    key = _without_user_info(key_text(path)) or "config"
    unknown = item["type"] == "extra_forbidden"
    origin = _origin(path, origins, within=unknown)
    where = f"{key} ({origin})" if origin else key
    if item["type"] == "missing":
        return f"{where}: is required and was not given; add it"
    if unknown:
        return f"{where}: {_unknown(path, value)}"
    return f"{where}: {_shown(key, value)} is not valid: {_rule(item, path)}"


def _rule(item: Any, path: Path) -> str:
    kind, details = item["type"], item.get("ctx", {})
    if kind == "value_error":
        return str(details["error"])
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", details["expected"])
        near = difflib.get_close_matches(str(item["input"]), choices, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else "write one of them"
        return f"it must be one of {', '.join(choices)}; {fix}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"it must be a section; give it keys of its own, such as {', '.join(_known_keys(path))}"
    if kind == "path_type":
        learn = bool(_sections(annotation_at(path)))
        return f"it must be a path{' or {learn: 1000}' if learn else ''}; put a path in quotes"
    rule = _RULES.get(kind) or _RULES.get(kind.partition("_")[0])
    return rule.format(**details) if rule else f"{item['msg'][0].lower()}{item['msg'][1:]}; correct it"


def _unknown(path: Path, value: Any) -> str:
    known = _known_keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
    shown = _shown(near[0] if near else str(path[-1]), value, is_address=True)
    return f"unknown key, set to {shown}; {fix}"


def _given(section: Any, broken: Rule) -> Any:
    """The value as it was written, which the section's own types may have turned into another."""
    value = section if broken.path else broken.value
    for part in broken.path:
        if not isinstance(value, Mapping) or part not in value:
            return broken.value
        value = value[part]
    return value


def _shown(key: str, value: Any, *, is_address: bool = False) -> str:
    """A value as far as a message may show it; that of an unknown key may be an address as well."""
    if _SECRET.search(key):
        return "a value that is not shown"
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return f"a section with the keys {_without_user_info(', '.join(map(str, value))) or '(none)'}"
    text = repr(list(value) if isinstance(value, tuple) else value)
    text = _without_user_info(text, is_address=is_address or _ADDRESS.search(key) is not None)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _without_user_info(text: str, *, is_address: bool = True) -> str:
    """A text with nothing left up to its last @: a password may hold a slash, a quote or another @."""
    before, at, host = text.rpartition("@")
    if is_address and at:
        before = _USER_INFO_IN_ADDRESS.sub(r"\1***", before)
    return _USER_INFO.sub("***", before) + at + host


def _origin(path: Path, origins: Origins, *, within: bool) -> str | None:
    """Where a value was set, or the section that holds it, or with ``within`` a part of it."""
    for depth in range(len(path), 0, -1):
        if path[:depth] in origins:
            return origins[path[:depth]]
    return next((origins[at] for at in origins if within and at[: len(path)] == path), None)


def _known_keys(path: Path) -> list[str]:
    return sorted({key for section in _sections(annotation_at(path)) for key in section.model_fields})


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections among the alternatives of a type; not those inside of a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if getattr(annotation, "__origin__", None) in (tuple, dict):
        return []
    return [section for alternative in get_args(annotation) for section in _sections(alternative)]


def _item(annotation: Any) -> Any:
    """The type of a list's items."""
    if getattr(annotation, "__origin__", None) is tuple:
        return get_args(annotation)[0]
    return next(filter(None, map(_item, get_args(annotation))), None)

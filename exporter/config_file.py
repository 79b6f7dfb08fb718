"""The configuration's way in: a YAML file and the environment, with errors that say what to do.

Every key can also be set as ``INFERENCE_EXPORTER__SECTION__KEY``; the environment wins over the
file. Unknown keys are refused, and a mistake names the key, the value received, the rule and the fix.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from exporter.config import Config
from exporter.errors import ConfigError

ENVIRONMENT_PREFIX = "INFERENCE_EXPORTER__"


def load_config(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read the configuration from a YAML file (or a mapping) and the environment.

    Parameters
    ----------
    source
        Path to a YAML file, an already parsed mapping, or None for defaults and environment only.
    environment
        Variables to read instead of the process's own.
    overrides
        Keys that win over both.

    Raises
    ------
    ConfigError
        With one line for each mistake: key, value received, rule and fix.
    """
    if source is None:
        data: dict[str, Any] = {}
    elif isinstance(source, Mapping):
        data = dict(source)
    else:
        data = _read_yaml(Path(source))
    data = _merge(data, _from_environment(os.environ if environment is None else environment))
    try:
        return Config.model_validate(_merge(data, dict(overrides or {})))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item) for item in _distinct(error))) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"config file {path}: cannot be read ({reason}); give the path of a YAML file"
        ) from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config file {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"config file {path}: holds a {type(data).__name__}; it must be a mapping of sections"
        )
    return data


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = [key.lower() for key in name.removeprefix(ENVIRONMENT_PREFIX).split("__")]
        node = tree
        for key in keys[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{name}: sets a key below {key}, which another variable sets as a whole")
            node = child
        try:
            node[keys[-1]] = yaml.safe_load(environment[name])
        except yaml.YAMLError:
            node[keys[-1]] = environment[name]
    return tree


def _merge(base: Any, over: Any) -> Any:
    """Lay ``over`` on ``base``; a mapping with whole-number keys addresses the items of a list."""
    if not isinstance(over, dict):
        return over
    if over and all(str(key).isdigit() for key in over):
        items = list(base) if isinstance(base, (list, tuple)) else []
        for key in sorted(over, key=int):
            index = min(int(key), len(items))
            items[index : index + 1] = [_merge(items[index] if index < len(items) else {}, over[key])]
        return items
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in over.items():
        merged[key] = _merge(merged.get(key), value)
    return merged


def _distinct(error: ValidationError) -> list[Any]:
    """One error for each place: a union reports one for every alternative that did not fit."""
    seen: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        seen.setdefault(_key(item["loc"]), item)
    return list(seen.values())


def _key(location: tuple[Any, ...]) -> str:
    parts = ""
    for part in location:
        if isinstance(part, int):
            parts += f"[{part}]"
        elif (
            part.isidentifier()
            and not part.endswith(("Config",))
            and part not in {"int", "path", "function-after"}
        ) or (re.fullmatch(r"[\w-]+", part) and part not in {"LearnConfig", "int", "path"}):
            parts += f".{part}" if parts else part
    return parts


def _explain(item: Any) -> str:
    key = _key(item["loc"]) or "config"
    value = item.get("input")
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key (value {_short(value)}); {hint}"
    if item["type"] == "missing":
        return f"{key}: is required and was not given; add it"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {_short(value)} is not valid: {message[0].lower()}{message[1:]}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """The keys that the section at ``location`` knows."""
    section: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int) or part not in section.model_fields:
            continue
        section = _section_type(section.model_fields[part].annotation) or section
    return sorted(section.model_fields)


def _section_type(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _section_type(inner)
        if found is not None:
            return found
    return None

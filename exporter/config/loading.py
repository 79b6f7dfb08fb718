"""The configuration's way in: a YAML file and the environment, with errors that say what to do.

Every key can also be set as ``INFERENCE_EXPORTER__SECTION__KEY``, and an item of a list by its number,
``INFERENCE_EXPORTER__DRIFT__0__WINDOW``; the environment wins over the file. Unknown keys are refused,
and a mistake names the key, the value received, the rule and the fix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from exporter.config.messages import annotation_at, explain, key_text
from exporter.config.schema import Config
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
    tree, variables = _from_environment(os.environ if environment is None else environment)
    data = _merge(data, tree, ())
    if overrides:
        data = _merge(data, dict(overrides), ())
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, variables)) from None


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which one would silently be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} is given twice in one section",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(
            f"config file {path}: cannot be read ({reason}); give the path of a YAML file in UTF-8"
        ) from None
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader, but for its care
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"config file {path}{line}: not valid YAML: {error.problem}; correct it") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"config file {path}: not valid YAML: {problem}; correct it") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"config file {path}: holds a {type(data).__name__}; it must be a mapping of sections, "
            "such as capture: {paths: [/predict]}"
        )
    return data


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], dict[tuple[Any, ...], str]]:
    """What the variables set, as a tree, and by which variable each of it was set."""
    tree: dict[str, Any] = {}
    variables: dict[tuple[Any, ...], str] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = tuple(key.lower() for key in name.removeprefix(ENVIRONMENT_PREFIX).split("__"))
        if not all(keys):
            raise ConfigError(
                f"{name}: names no key; write {ENVIRONMENT_PREFIX}SECTION__KEY, with two underscores between"
            )
        node = tree
        for depth, key in enumerate(keys[:-1]):
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                whole = ENVIRONMENT_PREFIX + "__".join(keys[: depth + 1]).upper()
                raise ConfigError(
                    f"{name}: sets a part of what {whole} sets as a whole; remove one of the two"
                )
        node[keys[-1]] = _value(keys, environment[name])
        variables[keys] = name
    return tree, variables


def _value(keys: tuple[str, ...], text: str) -> Any:
    """Text stays text; only a list or a mapping is read as YAML, and only where one can stand."""
    annotation = annotation_at(keys)
    if text.strip().startswith(("[", "{")) and not _is_text(annotation):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
    if text.strip() in ("null", "~") and not _is_text(annotation):
        return None
    return text


def _is_text(annotation: Any) -> bool:
    """Whether a setting is text, or nothing."""
    alternatives = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    return all(kind is str or str in get_args(kind)[:1] for kind in alternatives)


def _merge(base: Any, over: Any, path: tuple[Any, ...]) -> Any:
    """Lay ``over`` on ``base``; a mapping with whole-number keys addresses the items of a list."""
    if not isinstance(over, dict):
        return over
    if over and all(str(key).isdecimal() for key in over):
        items = list(base) if isinstance(base, list | tuple) else []
        for key in sorted(over, key=int):
            index = int(key)
            if index > len(items):
                raise ConfigError(
                    f"{key_text((*path, index))}: there is no such item; the list has {len(items)}, "
                    f"so the next one is {key_text((*path, len(items)))}"
                )
            item = items[index] if index < len(items) else {}
            items[index : index + 1] = [_merge(item, over[key], (*path, index))]
        return items
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in over.items():
        merged[key] = _merge(merged.get(key), value, (*path, key))
    return merged

"""The configuration's way in: a YAML file and the environment, with errors that say what to do.

Every key can also be set as ``INFERENCE_EXPORTER__SECTION__KEY``, and an item of a list by its number,
``INFERENCE_EXPORTER__DRIFT__0__WINDOW``; the environment wins over the file. Unknown keys are refused,
and a mistake names the key, the value received, the rule and the fix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.config.messages import Origins, annotation_at, explain, is_text, key_text, written_out
from exporter.config.schema import Config
from exporter.config.tree import KeyPath, read_file, read_text
from exporter.errors import ConfigError

ENVIRONMENT_PREFIX = "INFERENCE_EXPORTER__"


def load_config(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read the configuration from a YAML file (or a mapping) and the environment.

    ``source`` is the path of a YAML file, an already parsed mapping, or None for defaults and environment
    only; ``environment`` is read instead of the process's own variables; ``overrides`` win over both.

    Raises
    ------
    ConfigError
        With one line for each mistake: key, where it was set (line of the file or variable), value
        received, rule and fix.
    """
    return load_with_origins(source, environment=environment, overrides=overrides)[0]


def load_with_origins(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    option_names: Mapping[KeyPath, str] | None = None,
) -> tuple[Config, Origins]:
    """As :func:`load_config`, with where each value was set.

    ``option_names`` says what an override is called: ``("sidecar", "listen")`` is ``--listen``.
    """
    data, origins = {} if source is None else source, Origins()
    if not isinstance(data, Mapping):
        data, lines = read_file(Path(data))
        origins = {path: f"line {line}" for path, line in lines.items()}
    tree, variables = _from_environment(os.environ if environment is None else environment)
    data = _merge(data, tree, (), origins, variables)
    data = _merge(data, dict(overrides or {}), (), origins, dict(option_names or {}))
    try:
        return Config.model_validate(data), origins
    except ValidationError as error:
        raise ConfigError(explain(error, origins)) from None


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """What the variables set, as a tree, and by which variable each of it was set."""
    tree: dict[str, Any] = {}
    variables: dict[KeyPath, str] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = tuple(key.lower() for key in name.removeprefix(ENVIRONMENT_PREFIX).split("__"))
        if not all(keys):
            fix = f"write {ENVIRONMENT_PREFIX}SECTION__KEY, with two underscores between"
            raise ConfigError(f"{name}: names no key; {fix}")
        node = tree
        for depth, key in enumerate(keys[:-1]):
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                other = ENVIRONMENT_PREFIX + "__".join(keys[: depth + 1]).upper()
                rule = f"sets a part of what {other} sets as a whole"
                raise ConfigError(f"{name}: {rule}; remove one of the two")
        node[keys[-1]] = _value(keys, name, environment[name])
        # Numbers of items as numbers: 00 and 0 are the same one.
        variables[tuple(int(key) if _is_number(key) else key for key in keys)] = name
    return tree, variables


def _value(keys: KeyPath, name: str, text: str) -> Any:
    """Text stays text; only a list or a mapping is read as YAML, and only where one can stand."""
    if is_text(annotation_at(keys)):
        return text
    if text.strip().startswith(("[", "{")):
        return read_text(text, name).data
    return None if text.strip() in ("null", "~") else written_out(keys, text)


def _merge(
    base: Any, over: Any, path: KeyPath, origins: dict[KeyPath, str], names: Mapping[KeyPath, str]
) -> Any:
    """Lay ``over`` on ``base``; a mapping with whole-number keys addresses the items of a list.

    Where ``over`` wins, ``origins`` then says what ``names`` calls it.
    """
    if not isinstance(over, dict):
        for known in [known for known in origins if known[: len(path)] == path]:
            del origins[known]
        origins[path] = next((names[path[:n]] for n in range(len(path), 0, -1) if path[:n] in names), "")
        return over
    if over and all(_is_number(key) for key in over):
        items = list(base) if isinstance(base, list | tuple) else []
        for key in sorted(over, key=int):
            index = int(key)
            if index > len(items):
                fix = f"the list has {len(items)}, so the next one is {key_text((*path, len(items)))}"
                raise ConfigError(f"{key_text((*path, index))}: there is no such item; {fix}")
            item = items[index] if index < len(items) else {}
            items[index : index + 1] = [_merge(item, over[key], (*path, index), origins, names)]
        return items
    base = written_out(path, base)
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in over.items():
        merged[key] = _merge(merged.get(key), value, (*path, key), origins, names)
    return merged


def _is_number(key: Any) -> bool:
    return str(key).isdecimal() and len(str(key)) < 10

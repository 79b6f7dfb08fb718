"""YAML to a tree of plain values and the line of each: nothing else comes out, but for :class:`ConfigError`.

Values are text, numbers, truth values, None, lists and mappings with text for keys. A date is text: no
key takes one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from exporter.errors import ConfigError

KeyPath = tuple[Any, ...]

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_VALUES = 20_000
_MAX_NUMBER_CHARACTERS = 64
_TOO_MANY = f"with aliases written out it holds more than {MAX_VALUES} values; no configuration does"
_TAG = "tag:yaml.org,2002:"
_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Tree(NamedTuple):
    """What a text holds, and on which line (from 1) each key and each item of a list stands."""

    data: Any
    lines: dict[KeyPath, int]


def read_file(path: Path) -> Tree:
    """The sections of a YAML file.

    Raises
    ------
    ConfigError
        If it is no regular file of at most 1 MiB in UTF-8, or not a mapping in valid YAML.
    """
    source = f"config file {path}"
    try:
        text = _bytes(path).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeError):
            reason = "not UTF-8 text"
        fix = "give the path of a YAML file in UTF-8"
        raise ConfigError(f"{source}: cannot be read ({reason}); {fix}") from None
    data, lines = read_text(text, source)
    if not isinstance(data, dict | None):
        found = "a list" if isinstance(data, list) else "a single value"
        rule = "it must be a mapping of sections, such as capture: {paths: [/predict]}"
        raise ConfigError(f"{source}: holds {found}; {rule}")
    return Tree(data or {}, lines)


def read_text(text: str, source: str) -> Tree:
    """The tree of a YAML text; ``source`` names it in messages.

    Raises
    ------
    ConfigError
        If it is not valid, or deeper or larger than any configuration is.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return Tree(None if node is None else loader.plain(node), loader.lines)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        line, problem = mark.line, str(error.problem)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        problem = f"the character U+{int(error.character):04X} must not stand in it; remove it"
    except Exception:  # the scanner lets others out as well, such as for "\UFFFFFFFF"
        line = 0 if loader is None else loader.line
        problem = "an escape or a directive there means nothing"
    fix = "" if "; " in problem else "; correct it"
    raise ConfigError(f"{source}, line {line + 1}: not valid YAML: {problem}{fix}")


def _bytes(path: Path) -> bytes:
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is a pipe or a device, not a file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError("it is longer than 1 MiB")
    return data


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to would wait for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Loader(yaml.SafeLoader):
    """Nodes within bounds, and the plain values that they stand for."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = _RESOLVERS
        self.lines: dict[KeyPath, int] = {}
        self._depth = self._nodes = self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, if it is not too deep and not one too many."""
        self._nodes += 1
        self._depth += 1
        events: Any = self  # PyYAML's own types leave them out
        if self._depth > MAX_DEPTH:
            raise _problem(f"it is nested deeper than {MAX_DEPTH} levels; no setting is", events.peek_event())
        if self._nodes > 2 * MAX_VALUES:  # keys are nodes as well
            raise _problem(_TOO_MANY, events.peek_event())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def plain(self, node: yaml.Node, path: KeyPath = (), key: yaml.Node | None = None) -> Any:
        """What a node stands for, as the value of ``key``; an alias is followed as often as it stands."""
        if path:
            self.lines[path] = (key or node).start_mark.line + 1
        self._values += 1
        if self._values > MAX_VALUES:
            raise _problem(_TOO_MANY, node)
        if len(path) >= MAX_DEPTH:
            raise _problem("an alias repeats what it stands in; write it out", node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in (f"{_TAG}seq", f"{_TAG}map"):
            raise _problem(f"the tag {node.tag} means nothing here; leave it out", node)
        if isinstance(node, yaml.MappingNode):
            return self._section(node, path)
        return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]

    def _section(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        section: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                fix = "render the template if it is one, or put the text in quotes"
                raise _problem(f"a list or section stands where a key has to be; {fix}", key_node)
            key = self._scalar(key_node)
            if not isinstance(key, str):
                raise _problem(f"the key {key_node.value} is not text; put it in quotes", key_node)
            if key in section:
                raise _problem(f"the key {key} is given twice in one section", key_node)
            value = self.plain(value_node, (*path, key), key_node)
            if key_node.tag != f"{_TAG}merge":
                section[key] = value
                continue
            for other in value if isinstance(value, list) else [value]:  # the first wins
                if not isinstance(other, dict):
                    raise _problem("<< takes a section or a list of them", value_node)
                merged = {**other, **merged}
        return {**merged, **section}

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        name = node.tag.removeprefix(_TAG)
        if name in ("str", "merge"):
            return node.value
        if name not in ("null", "bool", "int", "float"):
            raise _problem(f"the tag {node.tag} means nothing here; leave it out", node)
        if len(node.value) > _MAX_NUMBER_CHARACTERS:
            raise _problem(f"a number of {len(node.value)} characters; no setting takes one", node)
        try:
            return self.construct_object(node)
        except (ValueError, LookupError):
            raise _problem(f"what follows the tag {name} is none; leave the tag out", node) from None


def _problem(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)

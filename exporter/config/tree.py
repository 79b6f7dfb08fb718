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
        reason = str(error)
        if isinstance(error, OSError):
            reason = error.strerror or reason
        elif isinstance(error, UnicodeDecodeError):
            reason = "not UTF-8 text"
        raise ConfigError(
            f"{source}: cannot be read ({reason}); give the path of a YAML file in UTF-8"
        ) from None
    tree = read_text(text, source)
    if tree.data is None:
        return Tree({}, {})
    if not isinstance(tree.data, dict):
        found = "a list" if isinstance(tree.data, list) else "a single value"
        raise ConfigError(
            f"{source}: holds {found}; it must be a mapping of sections, "
            "such as capture: {paths: [/predict]}"
        )
    return tree


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
        data = None if node is None else loader.plain(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem)
        fix = "" if "; " in problem else "; correct it"
        raise ConfigError(f"{_at(source, mark)}: not valid YAML: {problem}{fix}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character U+{int(error.character):04X} must not stand in it"
        raise ConfigError(f"{source}, line {line}: not valid YAML: {problem}; remove it") from None
    except Exception as error:  # the scanner lets others out as well, such as for "\UFFFFFFFF"
        problem = "an escape or a directive there means nothing"
        raise ConfigError(f"{_at(source, loader)}: not valid YAML: {problem}; correct it") from error
    return Tree(data, loader.lines)


def _at(source: str, place: Any) -> str:
    """Where a mark or a parser stands."""
    return source if place is None else f"{source}, line {place.line + 1}"


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

    def plain(self, node: yaml.Node, path: KeyPath) -> Any:
        """What a node stands for; an alias is followed as often as it stands."""
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
        return [self._at(item, item, (*path, index)) for index, item in enumerate(node.value)]

    def _section(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        section: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem(
                    "a list or section stands where a key has to be; "
                    "render the template if it is one, or put the text in quotes",
                    key_node,
                )
            if key_node.tag == f"{_TAG}merge":
                for other in self._merged(value_node, path):
                    merged = {**other, **merged}
                continue
            key = self._scalar(key_node)
            if not isinstance(key, str):
                raise _problem(f"the key {key_node.value} is not text; put it in quotes", key_node)
            if key in section:
                raise _problem(f"the key {key} is given twice in one section", key_node)
            section[key] = self._at(key_node, value_node, (*path, key))
        return {**merged, **section}

    def _merged(self, node: yaml.Node, path: KeyPath) -> list[dict[str, Any]]:
        """What a merge key (``<<``) takes in, the first to win first."""
        value = self.plain(node, (*path, "<<"))
        sections = value if isinstance(value, list) else [value]
        if not all(isinstance(section, dict) for section in sections):
            raise _problem("<< takes a section or a list of them", node)
        return sections

    def _at(self, place: yaml.Node, node: yaml.Node, path: KeyPath) -> Any:
        self.lines[path] = place.start_mark.line + 1
        return self.plain(node, path)

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

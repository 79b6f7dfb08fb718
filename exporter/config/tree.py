"""YAML to a tree of plain values and the line of each: nothing else comes out, but for :class:`ConfigError`.

Values are text, numbers, truth values, None, lists and mappings with text for keys. The tree is built from
the parser's events, without recursion and without PyYAML's constructors, so that depth, size and types
have one bound and one place. A date is text: no key takes one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from exporter.errors import ConfigError

KeyPath = tuple[Any, ...]

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_VALUES = 20_000
_MAX_NUMBER_CHARACTERS = 64
_TAG = "tag:yaml.org,2002:"
_NO_KEY, _MERGE = object(), object()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_SCALARS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    "null": lambda _: None,
    "bool": _CONSTRUCTOR.construct_yaml_bool,
    "int": _CONSTRUCTOR.construct_yaml_int,
    "float": _CONSTRUCTOR.construct_yaml_float,
}


_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.resolver.Resolver.yaml_implicit_resolvers.items()
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
    builder = _Builder()
    parser: Any = None  # PyYAML has no types of its own for events
    try:
        parser = _Parser(text)
        while parser.check_event():
            builder.take(parser.get_event(), parser)
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
        raise ConfigError(f"{_at(source, parser)}: not valid YAML: {problem}; correct it") from error
    return Tree(builder.data, builder.lines)


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


class _Parser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.resolver.Resolver):
    """Events, and the types that plain text stands for."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.resolver.Resolver.__init__(self)
        self.yaml_implicit_resolvers = _RESOLVERS


class _Value(NamedTuple):
    data: Any
    # With everything in it, and as often as an alias repeats it.
    size: int


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come yet."""

    data: Any
    path: KeyPath
    anchor: str | None
    key: Any = _NO_KEY
    size: int = 1
    merged: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    def __init__(self) -> None:
        self.data: Any = None
        self.lines: dict[KeyPath, int] = {}
        self._open: list[_Open] = []
        self._anchors: dict[str, _Value] = {}
        self._documents = 0

    def take(self, event: Any, parser: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _problem("a second document begins here; keep one", event)
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, parser)
            self._put(_Value(value, 1), event, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            anchored = self._anchors.get(str(event.anchor))
            if anchored is None:
                raise _problem(f"there is no anchor {event.anchor} before this alias", event)
            self._put(anchored, event, None)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)

    def _begin(self, event: Any) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.data, dict) and top.key is _NO_KEY:
            raise _problem(
                "a list or section stands where a key has to be; "
                "render the template if it is one, or put the text in quotes",
                event,
            )
        if len(self._open) >= MAX_DEPTH:
            raise _problem(f"it is nested deeper than {MAX_DEPTH} levels; no setting is", event)
        is_list = isinstance(event, yaml.SequenceStartEvent)
        if event.tag not in (None, "!", f"{_TAG}seq" if is_list else f"{_TAG}map"):
            raise _problem(f"the tag {event.tag} means nothing here; leave it out", event)
        self._open.append(_Open([] if is_list else {}, self._place(event), event.anchor))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        for section in done.merged:
            done.data.update({key: section[key] for key in section if key not in done.data})
        self._put(_Value(done.data, done.size), event, done.anchor, placed=True)

    def _put(self, value: _Value, event: Any, anchor: str | None, *, placed: bool = False) -> None:
        if anchor is not None:
            self._anchors[anchor] = value
        top = self._open[-1] if self._open else None
        is_key = top is not None and isinstance(top.data, dict) and top.key is _NO_KEY
        data = "<<" if value.data is _MERGE and not is_key else value.data
        if top is None:
            self.data = data
            return
        top.size += value.size
        if top.size > MAX_VALUES:
            raise _problem(
                f"with aliases written out it holds more than {MAX_VALUES} values; no configuration does",
                event,
            )
        if isinstance(top.data, list):
            if not placed:
                self._place(event)
            top.data.append(data)
        elif is_key:
            top.key = self._key(top, data, event)
        else:
            if top.key is _MERGE:
                top.merged += _sections(data, event)
            else:
                top.data[top.key] = data
            top.key = _NO_KEY

    def _key(self, top: _Open, key: Any, event: Any) -> Any:
        if key is _MERGE:
            return key
        if not isinstance(key, str):
            shown = getattr(event, "value", key)
            raise _problem(f"the key {shown} is not text; put it in quotes", event)
        if key in top.data:
            raise _problem(f"the key {key} is given twice in one section", event)
        path = (*top.path, key)
        self.lines[path] = event.start_mark.line + 1
        return key

    def _place(self, event: Any) -> KeyPath:
        """The path of the value that begins; an item's line is noted, a key's is known from the key."""
        if not self._open:
            return ()
        top = self._open[-1]
        if isinstance(top.data, dict):
            return (*top.path, top.key)
        path = (*top.path, len(top.data))
        self.lines[path] = event.start_mark.line + 1
        return path


def _scalar(event: Any, parser: Any) -> Any:
    tag = event.tag
    if tag is None or tag == "!":
        tag = parser.resolve(yaml.ScalarNode, event.value, event.implicit)
    name = tag.removeprefix(_TAG)
    if name == "merge":
        return _MERGE
    if name == "str":
        return event.value
    if name not in _SCALARS:
        raise _problem(f"the tag {tag} means nothing here; leave it out", event)
    if len(event.value) > _MAX_NUMBER_CHARACTERS:
        raise _problem(f"a number of {len(event.value)} characters; no setting takes one", event)
    try:
        return _SCALARS[name](yaml.ScalarNode(tag, event.value))
    except (ValueError, LookupError):
        raise _problem(f"what follows the tag {name} is none; leave the tag out", event) from None


def _sections(value: Any, event: Any) -> list[dict[str, Any]]:
    """What a merge key (``<<``) takes in, the first to win first."""
    sections = value if isinstance(value, list) else [value]
    if not all(isinstance(section, dict) for section in sections):
        raise _problem("<< takes a section or a list of them", event)
    return sections


def _problem(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)

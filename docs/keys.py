"""Writes the tables of keys in docs/configuration.md, from exporter/config: ``python docs/keys.py``."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from exporter.config import Config
from exporter.config.types import Shown

PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- Made by `python docs/keys.py` from exporter/config; change the descriptions there. -->\n"
END = "<!-- The end of what is made. -->\n"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
_BOUNDS = {Ge: ("from", "ge"), Gt: ("above", "gt"), Le: ("to", "le"), Lt: ("and below", "lt")}
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def keys() -> Iterator[tuple[str, list[FieldInfo], list[str]]]:
    """Each key: its dotted path, its field in each section that has it, the detectors that do if not all."""
    yield from _keys("", [Config])


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a value of a type can be, those of a list's items too; not those of a mapping, which
    hold keys that stand elsewhere."""
    if get_origin(annotation) is dict:
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections(part)]


def render() -> str:
    """The tables, one for each section."""
    groups: dict[str, list[str]] = {}
    for path, fields, owners in keys():
        field = next((each for each in fields if each.description), fields[0])
        if field.description or not sections(field.annotation):
            meaning = field.description or ""
            if owners:
                meaning = f"`{'`, `'.join(owners)}` only: {meaning[0].lower()}{meaning[1:]}"
            kinds = dict.fromkeys(_type(each.annotation, each.metadata) for each in fields)
            cells = (f"`{path}`", ", ".join(kinds), _default(field), meaning)
            groups.setdefault(path.rpartition(".")[0], []).append(f"| {' | '.join(cells)} |")
    docs = dict(_docs("", Config))
    parts = []
    for section, rows in groups.items():
        title = f"### `{section}`" if section else "### Top level"
        head = f"{title}\n\n{docs[section]}\n\n" if section else f"{title}\n\n"
        parts.append(
            f"{head}| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def write(text: str) -> str:
    """The page with the tables in their place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render()}\n{END}{after}"


def _keys(prefix: str, models: list[type[BaseModel]]) -> Iterator[tuple[str, list[FieldInfo], list[str]]]:
    for model in models:
        for name, text in _texts_below(model):
            model.model_fields[name].description = text
    for name in dict.fromkeys(name for model in models for name in model.model_fields):
        having = [model for model in models if name in model.model_fields]
        fields = [model.model_fields[name] for model in having]
        yield f"{prefix}{name}", fields, [_kind(each) for each in having] if having != models else []
        inner = sections(fields[0].annotation)
        if inner:
            yield from _keys(f"{prefix}{name}{_item(fields[0].annotation)}.", inner)


def _texts_below(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The keys under which a text stands that says what they mean; pydantic would read it at each start."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    for key, below in pairwise(ast.iter_child_nodes(definition)):
        match key, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                if name in model.model_fields:
                    yield name, inspect.cleandoc(text).replace("\n", " ")


def _docs(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        for section in sections(field.annotation)[:1]:
            path = f"{prefix}{name}{_item(field.annotation)}"
            owner = section.__mro__[1] if len(sections(field.annotation)) > 1 else section
            yield path, (owner.__doc__ or "").partition("\n\n")[0]
            for each in sections(field.annotation):
                yield from _docs(f"{path}.", each)


def _kind(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["detector"].annotation)[0])


def _item(annotation: Any) -> str:
    return "[]" if get_origin(annotation) is tuple else ""


def _type(annotation: Any, metadata: list[Any]) -> str:
    shown = next((str(mark) for mark in metadata if isinstance(mark, Shown)), None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if shown is None and origin is Annotated:
        return _type(arguments[0], [*metadata, *arguments[1:]])
    if shown is None and origin in (Union, types.UnionType):
        names = [_type(part, metadata) for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(names))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0], [])}s".replace("texts", "text")
    if sections(annotation):
        return "section"
    bounds = [
        f"{word} {_number(getattr(mark, attribute))}"
        for mark in metadata
        for kind, (word, attribute) in _BOUNDS.items()
        if isinstance(mark, kind)
    ]
    return " ".join([shown or _NAMES[annotation], *(bounds if shown is None else [])])


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.model_dump().items()) + "}`"
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(separator='').replace('.0', '')}`"
    if any(mark == "duration" for mark in field.metadata):
        return f"`{_duration(value)}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _duration(seconds: float) -> str:
    for unit, size in _UNITS.items():
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

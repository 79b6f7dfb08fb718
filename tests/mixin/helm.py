"""The part of Helm's template language that the chart uses, so that it can be rendered without Helm.

Anything else raises, so that a template cannot grow past what is tested here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

_TAG = re.compile(r"\{\{-?\s*((?:`[^`]*`|\"[^\"]*\"|[^`\"}]|\}(?!\}))*?)\s*-?\}\}")
_WHOLE_LINE = re.compile(r"^[ \t]*\{\{-? (if [^}]*|else|end) -?\}\}[ \t]*\n", re.MULTILINE)
_TOKEN = re.compile(r'\s*(`[^`]*`|"(?:[^"\\]|\\.)*"|\(|\)|\||-?\d+(?:\.\d+)?(?![\w.])|[.\w]+)')


class _Block(str):
    """A text that is written as it stands, as Helm's AsConfig does."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


def render(
    chart: Path, values: dict[str, Any], release: str = "wine", namespace: str = "models"
) -> dict[str, list[dict[str, Any]]]:
    """Render every template of a chart; gives the documents of each file."""
    scope = _Scope(chart, values, release, namespace)
    rendered = {}
    for path in sorted((chart / "templates").glob("*.yaml")):
        text = _conditions(path.read_text(), scope)
        text = re.sub(r"\n[ \t]*\{\{-", "{{-", text)
        text = _TAG.sub(lambda match: _written(scope.evaluate(match[1])), text)
        rendered[path.name] = [document for document in yaml.load_all(text, _Strict) if document]
    return rendered


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, as Helm does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        if len(set(keys)) != len(keys):
            raise ValueError(f"a key stands twice: {keys}")
        return super().construct_mapping(node, deep)


def _conditions(text: str, scope: _Scope) -> str:
    kept: list[str] = []
    shown = [True]
    for line in text.splitlines(keepends=True):
        match = _WHOLE_LINE.match(line)
        if match is None:
            kept += [line] if all(shown) else []
        elif match[1] == "end":
            shown.pop()
        elif match[1] == "else":
            shown[-1] = not shown[-1]
        else:
            shown.append(bool(scope.evaluate(match[1].removeprefix("if "))))
    if len(shown) != 1:
        raise ValueError("an if without its end")
    return "".join(kept)


class _Large(float):
    """A number that Helm would write with an exponent."""


def _written(value: Any) -> str:
    if isinstance(value, _Large):
        raise ValueError(f"{value:.0f} would be written as {value:e}: use int64")
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _to_yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=10_000).rstrip()


def _decimal(*numbers: Any) -> list[Decimal]:
    return [Decimal(str(number)) for number in numbers]


def _product(*numbers: Any) -> float:
    result = Decimal(1)
    for number in _decimal(*numbers):
        result *= number
    return float(result)


def _difference(first: Any, *others: Any) -> float:
    return float(_decimal(first)[0] - sum(_decimal(*others)))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "toYaml": _to_yaml,
    "nindent": lambda count, text: (
        "\n" + "\n".join(" " * count + line if line else line for line in text.splitlines())
    ),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "trunc": lambda count, text: text[:count],
    "replace": lambda old, new, text: text.replace(old, new),
    "printf": lambda form, *values: form % values,
    "dict": lambda *pairs: dict(zip(pairs[::2], pairs[1::2], strict=True)),
    "merge": lambda *maps: {key: value for each in reversed(maps) for key, value in each.items()},
    "ternary": lambda yes, no, test: yes if test else no,
    "not": lambda value: not value,
    "mulf": _product,
    "subf": _difference,
    "minf": lambda *numbers: float(min(numbers)),
    "round": lambda number, digits: round(float(number), digits),
    "int64": int,
    "div": lambda one, other: int(one) // int(other),
}


@dataclass(frozen=True)
class _Scope:
    chart: Path
    values: dict[str, Any]
    release: str
    namespace: str

    def evaluate(self, expression: str) -> Any:
        tokens = self._tokens(expression)
        result = self._pipeline(tokens)
        if tokens:
            raise ValueError(f"expression {expression!r}: {tokens} is not known here")
        return result

    @staticmethod
    def _tokens(expression: str) -> list[str]:
        found, end = [], 0
        while match := _TOKEN.match(expression, end):
            found.append(match[1])
            end = match.end()
        if expression[end:].strip():
            raise ValueError(f"expression {expression!r} is not known here")
        return found

    def _pipeline(self, tokens: list[str]) -> Any:
        result = self._command(tokens)
        while tokens and tokens[0] == "|":
            tokens.pop(0)
            result = self._command(tokens, result)
        return result

    def _command(self, tokens: list[str], *piped: Any) -> Any:
        head = tokens.pop(0)
        if head == ".Files.Get":
            return (self.chart / self._term(tokens.pop(0), tokens)).read_text()
        if head == ".Files.Glob":
            pattern = self._term(tokens.pop(0), tokens)
            return {path.name: _Block(path.read_text()) for path in sorted(self.chart.glob(pattern))}
        if head not in _FUNCTIONS:
            if piped:
                raise ValueError(f"function {head!r} is not known here")
            return self._term(head, tokens)
        arguments = []
        while tokens and tokens[0] not in (")", "|"):
            arguments.append(self._term(tokens.pop(0), tokens))
        return _FUNCTIONS[head](*arguments, *piped)

    def _term(self, token: str, tokens: list[str]) -> Any:
        if token == "(":
            value = self._pipeline(tokens)
            tokens.pop(0)
            if tokens and tokens[0] == ".AsConfig":
                tokens.pop(0)
                return _to_yaml(value)
            return value
        if token[0] in '`"':
            return token[1:-1] if token[0] == "`" else token[1:-1].encode().decode("unicode_escape")
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        if re.fullmatch(r"-?\d+\.\d+", token):
            return float(token)
        if token in (".Release.Name", ".Release.Namespace"):
            return self.release if token == ".Release.Name" else self.namespace
        return self._look_up(token)

    def _look_up(self, path: str) -> Any:
        """A value; numbers are floats to Helm, which writes a million as 1e+06 unless ``int64`` is used."""
        if not re.fullmatch(r"\.Values(\.\w+)+", path):
            raise ValueError(f"expression {path!r} is not known here")
        found: Any = self.values
        for key in path.split(".")[2:]:
            found = found[key]
        if type(found) is int and found >= 1_000_000:
            return _Large(found)
        return found

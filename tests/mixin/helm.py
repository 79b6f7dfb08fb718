"""The part of Helm's template language that the chart uses, so that it can be rendered without Helm.

Anything else raises, so that a template cannot grow past what is tested here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

_TAG = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_WHOLE_LINE = re.compile(r"^[ \t]*\{\{-? (if [^}]*|end) -?\}\}[ \t]*\n", re.MULTILINE)


def render(chart: Path, values: dict[str, Any], release: str = "wine") -> dict[str, list[dict[str, Any]]]:
    """Render every template of a chart; gives the documents of each file."""
    rendered = {}
    for path in sorted((chart / "templates").glob("*.yaml")):
        text = _conditions(path.read_text(), values)
        text = re.sub(r"\n[ \t]*\{\{-", "{{-", text)
        text = _TAG.sub(lambda match: _value(match[1], chart, values, release), text)
        rendered[path.name] = [document for document in yaml.safe_load_all(text) if document]
    return rendered


def _conditions(text: str, values: dict[str, Any]) -> str:
    kept: list[str] = []
    shown = [True]
    for line in text.splitlines(keepends=True):
        match = _WHOLE_LINE.match(line)
        if match is None:
            kept += [line] if all(shown) else []
        elif match[1] == "end":
            shown.pop()
        else:
            shown.append(bool(_look_up(match[1].removeprefix("if "), values)))
    if len(shown) != 1:
        raise ValueError("an if without its end")
    return "".join(kept)


def _value(expression: str, chart: Path, values: dict[str, Any], release: str) -> str:
    source, *filters = (part.strip() for part in expression.split("|"))
    if source == ".Release.Name":
        text = release
    elif match := re.fullmatch(r'\.Files\.Get "([^"]+)"', source):
        text = (chart / match[1]).read_text()
    elif match := re.fullmatch(r'\(\.Files\.Glob "([^"]+)"\)\.AsConfig', source):
        text = yaml.safe_dump({path.name: path.read_text() for path in sorted(chart.glob(match[1]))})
    elif source.startswith("toYaml "):
        text = yaml.safe_dump(_look_up(source.removeprefix("toYaml "), values), sort_keys=True).rstrip()
    else:
        text = str(_look_up(source, values))
    for name in filters:
        if match := re.fullmatch(r"nindent (\d+)", name):
            text = "\n" + "\n".join(
                " " * int(match[1]) + line if line else line for line in text.splitlines()
            )
        elif name == "sha256sum":
            text = hashlib.sha256(text.encode()).hexdigest()
        else:
            raise ValueError(f"filter {name!r} is not known here")
    return text


def _look_up(path: str, values: dict[str, Any]) -> Any:
    if not re.fullmatch(r"\.Values(\.\w+)+", path):
        raise ValueError(f"expression {path!r} is not known here")
    found: Any = values
    for key in path.split(".")[2:]:
        found = found[key]
    return found

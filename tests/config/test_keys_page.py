"""docs/configuration.md lists every key as the models have it, and its examples run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

from exporter.config.loading import load_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
KEYS: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "keys.py"))


def test_the_tables_agree_with_the_models():
    text = PAGE.read_text(encoding="utf-8")
    assert text == KEYS["write"](text), "run python docs/keys.py"


def test_every_key_says_what_it_means():
    silent = [
        path
        for path, fields, _ in KEYS["keys"]()
        if not any(field.description or KEYS["sections"](field.annotation) for field in fields)
    ]
    assert not silent


def test_every_key_that_is_no_section_stands_in_the_tables():
    text = PAGE.read_text(encoding="utf-8").partition(KEYS["BEGIN"])[2]
    for path, fields, _ in KEYS["keys"]():
        if any(field.description for field in fields):
            assert text.count(f"\n| `{path}` |") == 1, path


def test_the_defaults_in_the_tables_can_be_written_as_they_stand(tmp_path: Path):
    for path, (field, *_), _ in KEYS["keys"]():
        default = KEYS["_default"](field).strip("`")
        section, _, key = path.rpartition(".")
        is_section = KEYS["sections"](field.annotation) and not field.description
        if field.is_required() or is_section or not default or "[]" in section or "embedder" in section:
            continue
        if section == "sidecar":
            key = f"upstream: 'http://service:1', {key}"
        nested = f"{key}: {default}"
        for name in reversed(section.split(".") if section else []):
            nested = f"{name}: {{{nested}}}"
        file = tmp_path / "c.yaml"
        file.write_text(nested)
        config: Any = load_config(file, environment={})
        for name in path.split("."):
            config = getattr(config, name)
        assert config == field.default, path


def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, PAGE.name, "exec"), {})

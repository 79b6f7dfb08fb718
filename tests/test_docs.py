"""What the documentation says exists, and runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from exporter.cli.main import app
from exporter.config.loading import load_config
from exporter.metrics.contract import CONTRACT

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, text)
        for page in PAGES
        for found, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def test_made_pages_agree_with_their_sources() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "build.py"))["pages"]()
    assert set(pages) == {"metrics.md", "layers.md"}
    for name, text in pages.items():
        message = f"docs/{name} differs from its source: run python docs/build.py"
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, message


def test_every_metric_named_in_the_documentation_exists() -> None:
    known = {spec.name for spec in CONTRACT}
    suffixes = ("", "_bucket", "_count", "_sum")
    names = {name + suffix for name in known for suffix in suffixes}
    pattern = re.compile(
        r"`((?:drift|prediction|predicted|http_request|http_requests|inference_exporter)_[a-z_]+)`"
    )
    for page in PAGES:
        for name in pattern.findall(page.read_text(encoding="utf-8")):
            assert name in names, f"{page.name} names {name}, which the contract does not have"


def test_readme_examples_run_in_order() -> None:
    pytest.importorskip("fastapi")
    namespace: dict[str, object] = {}
    examples = [text for page, text in blocks("python") if page == "README.md"]
    assert len(examples) >= 3
    for text in examples:
        exec(compile(text, "README.md", "exec"), namespace)


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_configuration_examples_are_valid(page: str, text: str) -> None:
    data = yaml.safe_load(text)
    if "model" in data:
        assert load_config(data, environment={}).model == data["model"], page


def test_commands_named_in_the_documentation_exist() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set()
    for page in PAGES:
        named |= set(re.findall(r"(?:`|\$ )inference-exporter ([a-z-]+)", page.read_text(encoding="utf-8")))
    assert named
    assert named <= commands


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"

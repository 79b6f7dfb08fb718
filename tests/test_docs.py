"""What the documentation says exists, and runs."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from exporter.cli.main import app
from exporter.config.loading import load_config
from exporter.metrics.contract import CONTRACT

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
DESIGN_WORDS = (
    *("receiver", "decoder", "exchange", "observation", "pipeline", "processor", "ledger", "reference"),
    *("window", "statistic", "threshold", "expected run length", "episode", "upstream", "downstream"),
    *("data plane", "capture log", "analyzer", "helper", "supervisor", "transaction", "response"),
    *("outcome", "snapshot", "baseline", "reason", "summary", "complete", "account", "segment"),
)
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


def test_the_site_shows_every_page() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    shown = list(leaves(settings["nav"]))
    assert len(shown) == len(set(shown))
    assert set(shown) == {
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }


def leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(item)


def test_the_glossary_has_each_word_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = [word for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for word in row.split(", ")]
    words = [word for word in words if word not in ("word", "---")]
    assert len(words) == len(set(words))
    assert set(DESIGN_WORDS) <= set(words)


def test_every_target_of_the_makefile_is_explained() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()) - {
        "help",
        "setup",
        "format",
        "clean",
    }
    assert targets
    assert targets <= set(re.findall(r'@echo "make (\w+)', text))


def test_the_walks_name_functions_that_exist():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    hops = re.findall(r"^\| \d+ \| (.*?) \| (.*?) \|", page, re.MULTILINE)
    assert len(hops) > 30
    for functions, files in hops:
        names = [ROOT / "exporter" / name for name in re.findall(r"`([\w/]+\.py)`", files)]
        source = "".join(path.read_text(encoding="utf-8") for path in names)
        for function in re.findall(r"`[\w.]*?(\w+)`", functions):
            assert not names or re.search(rf"(def|class) {function}\b|\b{function} = ", source), (
                function,
                files,
            )

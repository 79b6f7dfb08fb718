"""Imports run upwards only, and the pure parts stay pure."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_is_kept():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


BREAKS = {
    "Imports run upwards only": ("metrics/contract.py", "import exporter.runtime"),
    "A detector at work is built upwards too": ("drift/channel.py", "import exporter.drift.watch"),
    "The lower rooms are pure: no threads, asyncio or Prometheus": (
        "decoders/registry.py",
        "import threading",
    ),
    "Detectors know no configuration": ("detectors/base.py", "import exporter.config"),
    "The worker and its queue know no domain type": ("pipeline/worker.py", "import exporter.observation"),
    "Only the outermost shells know a web framework": ("http/paths.py", "import starlette"),
}


def test_a_break_of_any_contract_is_seen(tmp_path: Path):
    shutil.copytree(ROOT / "exporter", tmp_path / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, line in BREAKS.values():
        path = tmp_path / "exporter" / module
        path.write_text(path.read_text() + f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    broken = {text.removesuffix(" BROKEN") for text in result.stdout.splitlines() if text.endswith(" BROKEN")}
    assert broken == set(BREAKS)


def test_no_file_is_longer_than_a_person_can_hold_in_mind():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "exporter").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert long == {}


def imported(path: Path, modules: set[str]) -> set[str]:
    """The modules of ours that a module imports, be it when it is imported itself or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules


def check_no_circle(folder: Path) -> None:
    paths = {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (folder / "exporter").rglob("*.py")
    }
    assert len(paths) > 100
    TopologicalSorter({name: imported(path, set(paths)) for name, path in paths.items()}).prepare()


def test_no_module_is_in_a_circle():
    check_no_circle(ROOT)


@pytest.mark.parametrize("indent", ["", "def later() -> None:\n    "])
def test_a_circle_is_seen(tmp_path: Path, indent: str):
    shutil.copytree(ROOT / "exporter", tmp_path / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "exporter" / "decoders" / "base.py"
    path.write_text(f"{path.read_text()}\n\n{indent}from exporter.decoders import auto\n")
    with pytest.raises(CycleError, match=r"exporter\.decoders\.base"):
        check_no_circle(tmp_path)

"""Imports run upwards only, and the pure parts stay pure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
CIRCULAR = "exporter.decoders."  # the one room with a circle


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


def circles(imports: Mapping[str, Collection[str]]) -> list[set[str]]:
    """Sets of modules that import one another, directly or through others (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for other in imports[module]:
            if other not in order:
                visit(other)
            if other in path:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            start = path.index(module)
            if len(path) - start > 1:
                found.append(set(path[start:]))
            del path[start:]

    for module in imports:
        if module not in order:
            visit(module)
    return found


def test_no_modules_import_one_another_in_a_circle():
    graph = grimp.build_graph("exporter", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    assert [circle for circle in circles(imports) if not all(m.startswith(CIRCULAR) for m in circle)] == []


def test_a_circle_is_seen():
    assert circles({"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": []}) == [{"a", "b", "c"}]
    assert circles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_no_file_is_longer_than_a_person_can_hold_in_mind():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "exporter").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert long == {}

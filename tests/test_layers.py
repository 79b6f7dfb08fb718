"""Imports run upwards only, and the pure parts stay pure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    "A detector at work is built upwards too": ("drift/window_metrics.py", "import exporter.drift.watch"),
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

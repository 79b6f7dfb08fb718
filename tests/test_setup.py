"""``make setup`` says at once that a Python cannot serve, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def python(path: Path, version: str = ".".join(map(str, sys.version_info[:3]))) -> Path:
    """An interpreter that says it is of a version; as a virtual environment it makes one of its own kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = ", ".join(version.split("."))
    path.write_text(
        f"""#!/bin/sh
case "$1" in
-c) exec {sys.executable} -c "import sys; sys.version_info = ({parts}); sys.version = '{version} (x)'; $2" ;;
-m) if test "$2" = venv; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; else echo "pip $*"; fi ;;
esac
"""
    )
    path.chmod(0o755)
    return path


def setup(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    of_make = ("PYTHON", "MAKEFLAGS", "MAKELEVEL")
    environment = {key: value for key, value in os.environ.items() if key not in of_make}
    return subprocess.run(
        ["make", "setup", *arguments], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


def test_a_python_that_serves_makes_an_environment(clone: Path):
    run = setup(clone, f"PYTHON={python(clone / 'python3')}")
    assert run.returncode == 0, run.stderr
    assert (clone / ".venv" / ".ready").exists()
    assert "Nothing to be done" in setup(clone).stdout


def test_a_python_that_is_too_old_is_named_and_leaves_nothing(clone: Path):
    old = python(clone / "python3.9", "3.9.18")
    run = setup(clone, f"PYTHON={old}")
    assert run.returncode != 0
    assert "this needs Python 3.10 or later, and not 3.9.18" in run.stderr
    assert f"PYTHON={old} cannot be used; give another, as make setup PYTHON=python3.11" in run.stderr
    assert "pip" not in run.stdout
    assert not (clone / ".venv").exists()
    assert setup(clone, f"PYTHON={python(clone / 'python3')}").returncode == 0


def test_a_python_that_is_not_there_leaves_nothing(clone: Path):
    run = setup(clone, "PYTHON=python3.nowhere")
    assert run.returncode != 0
    assert "PYTHON=python3.nowhere cannot be used" in run.stderr
    assert not (clone / ".venv").exists()


def test_an_environment_that_fails_to_be_made_is_removed(clone: Path):
    broken = python(clone / "python3")
    broken.write_text(broken.read_text().replace('cp "$0"', "false"))
    assert setup(clone, f"PYTHON={broken}").returncode != 0
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("state", ["too old", "gone", "another"])
def test_an_environment_that_cannot_be_used_is_noticed(clone: Path, state: str):
    inside = clone / ".venv" / "bin" / "python"
    if state == "gone":
        inside.parent.mkdir(parents=True)
        inside.symlink_to("/nowhere/python3")
    else:
        python(inside, "3.9.18" if state == "too old" else "3.77.0")
    run = setup(clone, f"PYTHON={python(clone / 'python3')}")
    assert run.returncode != 0
    assert "remove it (make clean)" in run.stderr
    assert "pip" not in run.stdout


def test_an_environment_that_serves_is_kept_whatever_python3_is(clone: Path):
    python(clone / ".venv" / "bin" / "python", "3.77.0")
    assert setup(clone).returncode == 0

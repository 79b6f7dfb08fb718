"""What ``import exporter`` offers, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import exporter

ROOT = Path(__file__).parent.parent
HEAVY = ["alibi_detect", "fastapi", "numpy", "onnxruntime", "pandas", "prometheus_client", "pydantic"]
HEAVY += ["scipy", "sklearn", "starlette", "tensorflow", "torch", "torchvision", "typer", "yaml"]
# What only some installations have, or what takes seconds to import: never on the way of the others.
OPTIONAL = [
    "alibi_detect",
    "fastapi",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "sklearn",
    "starlette",
    "tensorflow",
]
OPTIONAL += ["torch", "torchvision", "uvicorn", "prometheus_fastapi_instrumentator"]


def loaded_by(code: str, modules: list[str]) -> list[str]:
    report = f"{code}\nimport sys\nprint(*[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", report], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_all_is_what_is_exported():
    for name in exporter.__all__:
        assert getattr(exporter, name) is not None
    assert sorted(exporter.__all__) == sorted([*exporter._HOMES, "__version__"])
    assert list(exporter.__all__) == sorted(exporter.__all__)
    public = {name for name in dir(exporter) if not name.startswith("_")} & set(exporter._HOMES)
    assert public == set(exporter._HOMES)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "exporter" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == exporter._HOMES


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        exporter.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_by("import exporter", HEAVY) == []


@pytest.mark.parametrize(
    "code",
    [
        "from exporter.detectors import OnlineMMD",
        "import exporter.cli.main",
        "from exporter import InferenceExporter; InferenceExporter(model='m', reference=500)",
    ],
)
def test_optional_packages_are_imported_by_those_who_need_them(code: str):
    assert loaded_by(code, OPTIONAL) == []


def test_the_process_that_forwards_does_not_load_what_the_analyzer_reads_with():
    code = "import exporter.cli.main, exporter.sidecar.sidecar"
    assert loaded_by(code, ["numpy", "scipy", "prometheus_client", "exporter.runtime"]) == []


def test_the_check_of_loaded_modules_can_fail():
    assert loaded_by("import numpy", HEAVY) == ["numpy"]


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "exporter" / "py.typed").is_file()

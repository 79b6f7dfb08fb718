from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from exporter.embedders import torchvision_ops
from exporter.embedders.torchvision_ops import import_torchvision


def test_models_and_transforms_work() -> None:
    torchvision = import_torchvision()
    from torchvision.transforms.v2 import functional

    picture = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4)
    assert torch.equal(functional.invert(picture), 255 - picture)
    with torch.inference_mode():
        assert torchvision.models.squeezenet1_1().eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_a_second_call_gives_the_same_module() -> None:
    assert import_torchvision() is import_torchvision()


def test_where_torchvision_imports_nothing_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torchvision")
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    monkeypatch.setattr(torchvision_ops, "_declared", [])
    assert import_torchvision() is module
    assert torchvision_ops._declared == []


def test_other_failures_are_passed_on_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise RuntimeError("compiled with different CUDA major versions")

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(torchvision_ops, "_declared", [])
    with pytest.raises(RuntimeError, match="different CUDA major versions"):
        import_torchvision()
    assert torchvision_ops._declared == []


def test_a_missing_torchvision_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError):
        import_torchvision()


def test_importing_the_helper_imports_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys, exporter.embedders.torchvision_ops; "
        "sys.exit(any(n in sys.modules for n in ('torch', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

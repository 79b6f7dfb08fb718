"""Modules that have another name now; the former one works for one more release, with a warning."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NOW = {
    "exporter.detect": "exporter.detectors",
    "exporter.detect.mmd": "exporter.detectors",
    "exporter.monitoring": "exporter.mixin",
    "exporter.torchvision_ops": "exporter.embedders.torchvision_ops",
}


class FormerNames:
    """A finder, for ``sys.meta_path``, and loader of modules that hand out what is in another one."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Where a former module comes from: here."""
        loader: Any = self  # a Loader in all but its base, which takes 10 ms to import
        return ModuleSpec(name, loader, is_package=True) if name in _NOW else None

    def create_module(self, _: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Give the module a ``__getattr__`` that looks in the new one."""
        old, new = module.__name__, _NOW[module.__name__]

        def get(name: str) -> Any:
            if name.startswith("_") or not hasattr(import_module(new), name):
                raise AttributeError(f"module {old!r} has no attribute {name!r}")
            warnings.warn(
                f"{old} is now {new}: write from {new} import {name}", DeprecationWarning, stacklevel=2
            )
            return getattr(import_module(new), name)

        vars(module)["__getattr__"] = get

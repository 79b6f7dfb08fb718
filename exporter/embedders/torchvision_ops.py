"""Import torchvision where its compiled operators do not load.

The Linux wheel on PyPI is linked against CUDA: beside a CPU-only torch its operators are missing, and
``import torchvision`` fails. Models and transforms need only the *schemas* of two of those operators.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_MISSING = "torchvision::nms does not exist"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: list[Any] = []  # a torch Library takes its schemas along when it is collected


def import_torchvision() -> ModuleType:
    """Torchvision, made importable first where its operators failed to load.

    Its models and ``transforms.v2`` work then; calling ``torchvision.ops.nms`` still fails. Where
    torchvision imports by itself, nothing is declared and nothing is changed. What fails for a different
    reason raises torchvision's own error, an ``ImportError`` if it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    # The failed attempt leaves submodules behind that a second one would take for complete.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    if not _declared:
        library = importlib.import_module("torch.library").Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + _SCHEMA)
        _declared.append(library)
    return importlib.import_module("torchvision")

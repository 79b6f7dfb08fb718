"""Which model: the values of the labels ``model`` and ``version``."""

from __future__ import annotations

from typing import NamedTuple


class ModelId(NamedTuple):
    """Which model: the values of the labels ``model`` and ``version``, in this order; no version is empty."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name

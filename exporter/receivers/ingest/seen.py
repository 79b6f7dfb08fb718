"""A bounded memory of keys: what was applied once is not applied again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Seen(Generic[T]):
    """Keys with a result each; the least recently used one is forgotten beyond ``max_items``."""

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: Hashable) -> T | None:
        """What a key led to; None for one that was not seen, or long ago."""
        result = self._results.get(key)
        if result is not None:
            self._results.move_to_end(key)
        return result

    def remember(self, key: Hashable, result: T) -> None:
        """Note what a key led to."""
        self._results[key] = result
        self._results.move_to_end(key)
        if len(self._results) > self._max_items:
            self._results.popitem(last=False)

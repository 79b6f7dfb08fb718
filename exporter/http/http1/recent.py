"""What was found for byte strings that come again and again."""

from __future__ import annotations

from typing import Generic, TypeVar

Found = TypeVar("Found")

_MARKS_PER_ITEM = 8


class Recent(Generic[Found]):
    """Remembers what was found for a key, from the second time on, within bounds.

    Of keys that come only once, like those with a number of their own, nothing is kept but a mark: they
    neither take memory nor push out others. When it is full, all is forgotten; what is in use returns.

    Parameters
    ----------
    max_items, max_bytes
        Of the keys. One longer than a sixteenth of ``max_bytes`` is not remembered, as it would cost the
        place of many.

    Attributes
    ----------
    known
        What is remembered: always the same dictionary, to look in without a call in between.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.known: dict[bytes, Found] = {}
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._came: set[int] = set()

    def add(self, key: bytes, found: Found) -> None:
        """``found`` was found for ``key``, which was not remembered."""
        mark = hash(key)
        if mark not in self._came:
            if len(self._came) >= _MARKS_PER_ITEM * self._max_items:
                self._came.clear()
            self._came.add(mark)
        elif len(key) <= self._max_bytes // 16:
            if len(self.known) >= self._max_items or self._n_bytes + len(key) > self._max_bytes:
                self.clear()
            self.known[key] = found
            self._n_bytes += len(key)

    def clear(self) -> None:
        """Remember nothing."""
        self.known.clear()
        self._n_bytes = 0

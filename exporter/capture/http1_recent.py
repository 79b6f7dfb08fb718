"""What was found for byte strings that come again and again."""

from __future__ import annotations

from typing import Generic, TypeVar

Found = TypeVar("Found")


class Recent(Generic[Found]):
    """Remembers what was found for a key while the key is in use, within bounds.

    There are two generations. When the recent one is full it becomes the old one, whose keys return as
    they are used: what is used stays, however many other keys come by only once.

    Parameters
    ----------
    max_items, max_bytes
        Of the keys of one generation. A key longer than a sixteenth of ``max_bytes`` is not remembered,
        as it would cost the place of many.

    Attributes
    ----------
    recent
        The recent generation, always the same dictionary, so that whoever is in a hurry may look there.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.recent: dict[bytes, Found] = {}
        self._old: dict[bytes, Found] = {}
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._n_bytes = 0

    def get(self, key: bytes) -> Found | None:
        """What was remembered for ``key``."""
        found = self.recent.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.add(key, found)
        return found

    def add(self, key: bytes, found: Found) -> None:
        """Remember ``found`` for ``key``, which is not in the recent generation."""
        if len(key) > self._max_bytes // 16:
            return
        if len(self.recent) >= self._max_items or self._n_bytes + len(key) > self._max_bytes:
            self._old = self.recent.copy()
            self.recent.clear()
            self._n_bytes = 0
        self.recent[key] = found
        self._n_bytes += len(key)

    def clear(self) -> None:
        """Remember nothing."""
        self._old = {}
        self.recent.clear()
        self._n_bytes = 0

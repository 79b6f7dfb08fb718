"""Items that wait, with all that are bytes laid end to end.

Kept one by one, hundreds of blocks of a few kilobytes would have the allocator hand out fresh memory for
everything that comes after them, again and again, out of the processor's caches: on a saturated service that
costs more than all else that is done for a record. Copied into one buffer, each block is free again at once.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Tag = TypeVar("Tag")

_BUFFER_BYTES = 64 * 1024
_SPARE_BUFFERS = 16


class Stretch(Generic[Tag]):
    """Items of one tag, end to end: ``view`` holds them, ``lengths`` says how long each is."""

    __slots__ = ("lengths", "tag", "view")

    def __init__(self, tag: Tag, view: memoryview, lengths: array[int]) -> None:
        self.tag = tag
        self.view = view
        self.lengths = lengths

    def __iter__(self) -> Iterator[bytes]:
        """The items, each as bytes of its own."""
        start = 0
        for length in self.lengths:
            yield bytes(self.view[start : start + length])
            start += length


class Batch(Generic[Tag]):
    """(tag, item) pairs that were taken together; after :meth:`release` their memory is used again."""

    def __init__(self) -> None:
        self.entries: list[Stretch[Tag] | tuple[Tag, Any]] = []
        self._n = 0
        self._used_up: list[memoryview] = []
        self._spare: list[memoryview] = []

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[Tag, Any]]:
        """All pairs, in order."""
        for entry in self.entries:
            if isinstance(entry, Stretch):
                tag = entry.tag
                for item in entry:
                    yield tag, item
            else:
                yield entry

    def release(self) -> None:
        """Nobody looks at the items any more."""
        self.entries.clear()
        room = _SPARE_BUFFERS - len(self._spare)
        self._spare += self._used_up[: max(0, room)]
        self._used_up.clear()

    def _add(self, entry: Stretch[Tag] | tuple[Tag, Any], n: int) -> None:
        self.entries.append(entry)
        self._n += n


class _Run(Generic[Tag]):
    """A buffer that is filled from one end and emptied from there too."""

    __slots__ = ("end", "lengths", "start", "tag", "taken", "view")

    def __init__(self, tag: Tag, view: memoryview) -> None:
        self.tag = tag
        self.view = view
        self.lengths = array("L")
        self.taken = self.start = self.end = 0

    def take(self, most: int) -> Stretch[Tag]:
        lengths = self.lengths[self.taken : self.taken + most]
        start = self.start
        self.taken += len(lengths)
        self.start += sum(lengths)
        return Stretch(self.tag, self.view[start : self.start], lengths)


class Waiting(Generic[Tag]):
    """A queue of (tag, item) pairs. Not safe for several threads: whoever has it has a lock."""

    def __init__(self) -> None:
        self._entries: deque[_Run[Tag] | tuple[Tag, Any]] = deque()
        self._run: _Run[Tag] | None = None
        self._n = 0
        self._spare: list[memoryview] = []

    def __len__(self) -> int:
        return self._n

    def append(self, pair: tuple[Tag, Any]) -> None:
        """Add a pair at the end."""
        self._n += 1
        tag, item = pair
        if type(item) is not bytes or len(item) > _BUFFER_BYTES:
            self._run = None
            self._entries.append(pair)
            return
        run = self._run
        size = len(item)
        if run is None or run.end + size > _BUFFER_BYTES or run.tag != tag:
            try:
                view = self._spare.pop()
            except IndexError:
                view = memoryview(bytearray(_BUFFER_BYTES))
            run = self._run = _Run(tag, view)
            self._entries.append(run)
        end = run.end
        run.end = end + size
        run.view[end : end + size] = item
        run.lengths.append(size)

    def take(self, most: int) -> Batch[Tag]:
        """Remove up to ``most`` pairs from the front."""
        batch: Batch[Tag] = Batch()
        batch._spare = self._spare
        entries = self._entries
        while entries and len(batch) < most:
            entry = entries[0]
            if not isinstance(entry, _Run):
                batch._add(entry, 1)
                entries.popleft()
                continue
            stretch = entry.take(most - len(batch))
            batch._add(stretch, len(stretch.lengths))
            if entry.taken == len(entry.lengths):
                entries.popleft()
                if entry is self._run:
                    self._run = None
                batch._used_up.append(entry.view)
        self._n -= len(batch)
        return batch

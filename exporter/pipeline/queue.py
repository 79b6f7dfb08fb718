"""Items that wait, laid end to end.

Kept one by one, hundreds of blocks of a few kilobytes would have the allocator hand out fresh memory for
everything that comes after them, again and again, out of the processor's caches: on a saturated service that
costs more than all else that is done for a record. Copied into one buffer, each item is free again at once.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator

_BUFFER_BYTES = 64 * 1024
_SPARE_BUFFERS = 16


class Block:
    """Items end to end: ``view`` holds them, ``lengths`` says how many bytes each is."""

    __slots__ = ("lengths", "view")

    def __init__(self, view: memoryview, lengths: array[int]) -> None:
        self.view = view
        self.lengths = lengths

    def __iter__(self) -> Iterator[bytes]:
        """The items, each as bytes of its own."""
        start = 0
        for length in self.lengths:
            yield bytes(self.view[start : start + length])
            start += length


class Batch:
    """Items that were taken together; after :meth:`release` their memory is used again.

    Parameters
    ----------
    blocks
        What it holds, in order.
    """

    def __init__(self, blocks: list[Block] | None = None) -> None:
        self.blocks: list[Block] = blocks if blocks is not None else []
        self._used_up: list[memoryview] = []
        self._spare: list[memoryview] = []

    def __len__(self) -> int:
        return sum([len(block.lengths) for block in self.blocks])

    def __iter__(self) -> Iterator[bytes]:
        """All items, in order."""
        for block in self.blocks:
            yield from block

    @property
    def n_bytes(self) -> int:
        """Bytes of all items."""
        return sum([len(block.view) for block in self.blocks])

    def release(self) -> None:
        """Nobody looks at the items any more."""
        self.blocks = []
        room = _SPARE_BUFFERS - len(self._spare)
        self._spare += self._used_up[: max(0, room)]
        self._used_up.clear()


class _Buffer:
    """Memory that is filled from one end and emptied from there too."""

    __slots__ = ("end", "lengths", "start", "taken", "view")

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.lengths = array("L")
        self.taken = self.start = self.end = 0

    def take(self, most: int) -> Block:
        lengths = self.lengths[self.taken : self.taken + most]
        start = self.start
        self.taken += len(lengths)
        self.start += sum(lengths)
        return Block(self.view[start : self.start], lengths)


class Queue:
    """A queue of items. Not safe for several threads: whoever has it has a lock."""

    def __init__(self) -> None:
        self._buffers: deque[_Buffer] = deque()
        self._open: _Buffer | None = None
        self._spare: list[memoryview] = []
        self._n = 0
        self.n_bytes = 0

    def __len__(self) -> int:
        return self._n

    def append(self, item: bytes) -> None:
        """Add an item at the end."""
        size = len(item)
        self._n += 1
        self.n_bytes += size
        buffer = self._open
        if buffer is None or buffer.end + size > _BUFFER_BYTES:
            buffer = self._new_buffer(item)
        else:
            buffer.view[buffer.end : buffer.end + size] = item
        buffer.end += size
        buffer.lengths.append(size)

    def take(self, most: int) -> Batch:
        """Remove up to ``most`` items from the front."""
        batch = Batch()
        batch._spare = self._spare
        buffers, left = self._buffers, min(most, self._n)
        self._n -= left
        while left:
            buffer = buffers[0]
            block = buffer.take(left)
            batch.blocks.append(block)
            left -= len(block.lengths)
            if buffer.taken == len(buffer.lengths):
                buffers.popleft()
                if buffer is self._open:
                    self._open = None
                if len(buffer.view) == _BUFFER_BYTES:
                    batch._used_up.append(buffer.view)
        self.n_bytes -= batch.n_bytes
        return batch

    def _new_buffer(self, item: bytes) -> _Buffer:
        """A buffer that begins with an item; one that is longer than any buffer stays where it is."""
        if len(item) > _BUFFER_BYTES:
            buffer = _Buffer(memoryview(item))
            self._open = None
        else:
            try:
                view = self._spare.pop()
            except IndexError:
                view = memoryview(bytearray(_BUFFER_BYTES))
            view[: len(item)] = item
            buffer = self._open = _Buffer(view)
        self._buffers.append(buffer)
        return buffer

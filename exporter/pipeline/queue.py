"""Items that wait, laid end to end.

Kept one by one, hundreds of blocks of a few kilobytes would have the allocator hand out fresh memory for
everything that comes after them, again and again, out of the processor's caches: on a saturated service that
costs more than all else that is done for a record. Copied into one buffer, each item is free again at once.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

_BUFFER_BYTES = 64 * 1024
_SPARE_BUFFERS = 16


class Block(NamedTuple):
    """Items end to end: ``view`` holds them, ``lengths`` says how many bytes each is.

    ``n_each`` is how many each of them counts for.
    """

    view: memoryview
    lengths: array[int]
    n_each: int = 1


class Batch:
    """Items that were taken together, in order; its length is what they stand for."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks

    def __len__(self) -> int:
        return sum([len(block.lengths) * block.n_each for block in self.blocks])

    def __iter__(self) -> Iterator[bytes]:
        """The items, each as bytes of its own."""
        for view, lengths, _ in self.blocks:
            start = 0
            for length in lengths:
                yield bytes(view[start : start + length])
                start += length

    @property
    def n_bytes(self) -> int:
        """Bytes of all items."""
        return sum([len(block.view) for block in self.blocks])


class _Buffer:
    """Memory that is filled from one end and emptied from there too."""

    __slots__ = ("end", "lengths", "n_each", "start", "taken", "view")

    def __init__(self, view: memoryview, n_each: int = 1) -> None:
        self.view = view
        self.n_each = n_each
        self.lengths = array("L")
        self.taken = self.start = self.end = 0

    def take(self, most: int) -> Block:
        lengths = self.lengths[self.taken : self.taken + -(-most // self.n_each)]
        start = self.start
        self.taken += len(lengths)
        self.start += sum(lengths)
        return Block(self.view[start : self.start], lengths, self.n_each)


class Queue:
    """A queue of items; its length is what they stand for.

    Not safe for several threads: whoever has it has a lock.
    """

    def __init__(self) -> None:
        self._buffers: deque[_Buffer] = deque()
        self._open: _Buffer | None = None
        self._in_hand: list[memoryview] = []
        self._spare: list[memoryview] = []
        self._n = 0
        self.n_bytes = 0

    def __len__(self) -> int:
        return self._n

    def append(self, item: bytes, n: int = 1) -> None:
        """Add an item that stands for ``n`` at the end."""
        size = len(item)
        self._n += n
        self.n_bytes += size
        buffer = self._open
        if buffer is None or n > 1 or buffer.end + size > _BUFFER_BYTES:
            buffer = self._new_buffer(item, n)
        else:
            buffer.view[buffer.end : buffer.end + size] = item
        buffer.end += size
        buffer.lengths.append(size)

    def take(self, most: int) -> Batch:
        """Remove items from the front that stand for ``most``, or for more where the last stands for many.

        Nobody may look at those of the call before any more: their memory is used again.
        """
        self._spare += self._in_hand[: max(0, _SPARE_BUFFERS - len(self._spare))]
        self._in_hand.clear()
        blocks, buffers, left = [], self._buffers, min(most, self._n)
        while left > 0:
            buffer = buffers[0]
            block = buffer.take(left)
            blocks.append(block)
            left -= len(block.lengths) * block.n_each
            if buffer.taken == len(buffer.lengths):
                buffers.popleft()
                if buffer is self._open:
                    self._open = None
                if len(buffer.view) == _BUFFER_BYTES:
                    self._in_hand.append(buffer.view)
        batch = Batch(blocks)
        self._n -= len(batch)
        self.n_bytes -= batch.n_bytes
        return batch

    def _new_buffer(self, item: bytes, n: int) -> _Buffer:
        """A buffer that begins with an item; one that stands for many, or is too long, stays where it is."""
        if n > 1 or len(item) > _BUFFER_BYTES:
            buffer = _Buffer(memoryview(item), n)
            self._open = None
        else:
            view = self._spare.pop() if self._spare else memoryview(bytearray(_BUFFER_BYTES))
            view[: len(item)] = item
            buffer = self._open = _Buffer(view)
        self._buffers.append(buffer)
        return buffer

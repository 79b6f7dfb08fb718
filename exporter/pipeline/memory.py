"""How many bytes the queues of a process may hold together, without one of them starving another."""

from __future__ import annotations

import threading


class Memory:
    """``max_bytes`` for all queues. With several, half of it is divided between them, a share for each alone,
    and the other half is lent to whoever comes first: a model that overflows leaves the others their share.
    """

    def __init__(self, max_bytes: int, shares: int = 1) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._lent = 0
        self.divide(shares)

    def divide(self, shares: int) -> None:
        """Divide it between so many queues from now on; one has everything."""
        share = self._max_bytes if shares <= 1 else self._max_bytes // (2 * shares)
        self._common = self._max_bytes - share * shares
        self.share = share

    def lend(self, n_bytes: int) -> bool:
        """Lend so many bytes of the common half, or take them back if negative; False if there are none."""
        with self._lock:
            if n_bytes > 0 and self._lent + n_bytes > self._common:
                return False
            self._lent += n_bytes
            return True


class Loan:
    """What one queue holds beyond its share. For one thread at a time: whoever has the queue has its lock."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._lent = 0

    def covers(self, held: int) -> bool:
        """Whether the queue may hold so many bytes, for which is borrowed or given back what is needed."""
        lent = self._lent
        wanted = held - self._memory.share
        if wanted <= 0:
            if not lent:
                return True
            wanted = 0
        if wanted != lent:
            if not self._memory.lend(wanted - lent):
                return False
            self._lent = wanted
        return True

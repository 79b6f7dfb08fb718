"""Rows that repeat one shortly before them, bit for bit: retries, cached responses, a stuck sensor.

A repeat tells nothing new, and a window with repeats in it looks like a narrower distribution. But a
stream that hardly brings anything else has become narrower: there, repeats are tested as rows. Where
the reference itself repeats, in any order, as one-hot rows do, repeats are the data's own nature.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from exporter.arrays import on_host

_log = logging.getLogger(__name__)

REACH = 250
MOST = REACH // 2  # of so many rows: beyond, repeats are what the stream is
NATURAL = 0.01  # share of a reference's rows that repeat in any order, from which on it is their nature
_ODDS = 1.5  # times as many in the order that they came in: then they are neighbours
_FEWEST = 5


class Repeats:
    """Remembers 250 rows by 64 bits each. Different rows are taken for equal once in 10^7 observations."""

    def __init__(self) -> None:
        self._weights = np.zeros(0, dtype=np.uint64)
        self._last: dict[int, int] = {}  # hash of a row: when it was last seen
        self._recent = np.zeros(REACH, dtype=np.bool_)
        self.count = 0

    @property
    def share(self) -> float:
        """Share of the last 250 rows that were repeats; as if none had been, before there are so many."""
        return float(self._recent.mean())

    @property
    def prevail(self) -> bool:
        """Whether more than half of the last 250 rows were repeats: so many are tested."""
        return int(self._recent.sum()) > MOST

    def take(self, rows: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(b,) which of (b, d) rows repeat one of the 250 before them, and which of those to leave out.

        Left out are those with which no more than half of the last 250 rows are repeats.
        """
        before, count = self._recent.copy(), self.count
        found = self.find(rows)
        if not found.any():
            return found, found
        before = np.roll(before, -(count % REACH))  # oldest first
        repeats = np.zeros(REACH + found.size + 1, dtype=np.int64)
        np.cumsum(np.concatenate([before, found]), out=repeats[1:])
        return found, found & (repeats[REACH + 1 :] - repeats[1 : found.size + 1] <= MOST)

    def find(self, rows: Any) -> NDArray[np.bool_]:
        """(b,) whether each of (b, d) rows repeats one of the 250 before it, repeats among them."""
        out = np.zeros(rows.shape[0], dtype=np.bool_)
        last, n, keys = self._last, self.count, self._hashes(rows).tolist()
        if last.keys().isdisjoint(keys) and len(set(keys)) == len(keys):  # as nearly always
            last.update(zip(keys, range(n, n + len(keys)), strict=True))
        else:
            for i, key in enumerate(keys):
                out[i] = n + i - last.get(key, -REACH - 1) <= REACH
                last[key] = n + i
        n += len(keys)
        self._recent[np.arange(max(self.count, n - REACH), n) % REACH] = out[-REACH:]
        self.count = n
        if len(last) > 8 * REACH:
            self._last = {key: at for key, at in last.items() if n - at <= REACH}
        return out

    def state(self) -> NDArray[np.uint64]:
        """Everything that :meth:`restore` needs, one-dimensional."""
        kept = [(key, at) for key, at in self._last.items() if self.count - at <= REACH]
        flat = [self.count, *(int(x) for x in self._recent), *(value for pair in kept for value in pair)]
        return np.array(flat, dtype=np.uint64)

    def restore(self, state: NDArray[np.uint64]) -> None:
        """Go on from ``state``; a ValueError if it is none."""
        if state.size < 1 + REACH or state.size % 2 == REACH % 2:
            raise ValueError(f"memory of repeats of size {state.size}")
        self.count = int(state[0])
        self._recent = state[1 : 1 + REACH].astype(np.bool_)
        pairs = state[1 + REACH :].tolist()
        self._last = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def _hashes(self, rows: Any) -> NDArray[np.uint64]:
        """(b,) one number for each row, by its bytes."""
        x = on_host(rows)
        if x.dtype not in (np.float32, np.float64):
            x = x.astype(np.float32)
        words = np.ascontiguousarray(x).view(np.uint32)
        if words.shape[1] != self._weights.size:
            # Multilinear hashing (Carter and Wegman): the chance of a collision is below 2^-31.
            odd = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64)
            self._weights = np.add(2 * odd, 1, dtype=np.uint64)
        return np.asarray(np.einsum("ij,j->i", words, self._weights))


def repeat_rates(rows: NDArray[np.float64]) -> tuple[float, float]:
    """Shares of a reference's rows that repeat one shortly before: in their order, and in a random one."""
    reach = min(REACH, max(1, rows.shape[0] // 8))
    _, kinds = np.unique(Repeats()._hashes(rows + 0.0), return_inverse=True)
    return _rate(kinds, reach), _rate(np.random.default_rng(0).permutation(kinds), reach)


def are_natural(rows: NDArray[np.float64]) -> bool:
    """Whether repeats are in the nature of a reference, whatever its order."""
    return repeat_rates(rows)[1] >= NATURAL


def repeated_neighbours(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) which of a reference's rows repeat one shortly before, unless that is its nature."""
    ordered, shuffled = repeat_rates(rows)
    if (ordered - shuffled) * rows.shape[0] < _FEWEST or ordered < _ODDS * shuffled:
        return np.zeros(rows.shape[0], dtype=np.bool_)
    return Repeats().find(rows + 0.0)


def without_neighbours(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """A reference without the rows of :func:`repeated_neighbours`."""
    repeated = repeated_neighbours(rows)
    if not repeated.any():
        return rows
    _log.warning(
        "online MMD: %d of %d reference rows repeat one shortly before them, and are left out, as they "
        "are of the stream",
        np.count_nonzero(repeated),
        repeated.size,
    )
    return np.asarray(rows[~repeated])


def _rate(kinds: NDArray[np.integer[Any]], reach: int) -> float:
    order = np.argsort(kinds, kind="stable")
    same = np.diff(kinds[order]) == 0
    return float((same & (np.diff(order) <= reach)).sum() / kinds.size)


def pick(rows: Any, which: NDArray[np.bool_]) -> Any:
    """The rows of an array, on any device, that ``which`` says."""
    if which.all():
        return rows
    xp = array_namespace(rows)
    return xp.take(rows, xp.asarray(np.flatnonzero(which), device=device(rows)), axis=0)

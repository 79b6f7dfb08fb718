"""Runs of reference rows, and the largest statistic of each: what a stream without drift looks like.

A run is L different reference rows on a circle, with the window slid once around it. On a circle
every window has neighbours on both sides, so ``-log P(largest of L <= h)`` is L times the rate at
which alarms begin, with no correction for ends.

In operation the mean embedding of a window (variance proportional to 1/W) is compared with that of
the reference, which is off the population's by a fixed amount (variance proportional to 1/N). Windows
of reference rows are drawn about the reference's mean instead: two of them that share a part u of
their rows have the covariance u/W - 1/N in place of u/W, at any distance on the circle. What all
windows of a circle lack is the same 1/N, so each circle is moved as a whole by a random amount of
that variance, and is compared with a reference that is off by another one. Both are sums of all
centred rows with random signs over N (the multiplier bootstrap). To scale the windows up instead
would make neighbours less alike than they are, and alarms N / (N - W) times as frequent.

Rows that stood together in time may depend on each other. Then the reference comes in blocks of rows
in their order, a circle consists of whole blocks (of a part of one block, where that holds two
windows: a stream passes slowly from what one block saw to what another did), and the rows of a block
have their signs in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

Progress = Callable[[float], None]

_STEP = 100_000  # kernel values handled in one step: they stay in the processor's cache
_LEVELS = 65535
_ERRORS = 256
_RUNS_PER_ERROR = 8


@dataclass(frozen=True, slots=True)
class NullRuns:
    """Simulated runs of a stream without drift."""

    windows: tuple[int, ...]
    block: int  # reference rows that were drawn together
    length: int  # windows on each circle
    maxima: NDArray[np.float64]  # (runs, k) the largest statistic of each window length
    peaks: NDArray[np.int64]  # (runs, k) position of the last member of the window that had it
    rows: NDArray[np.int32]  # (runs, length) the reference rows on each circle
    errors: NDArray[np.int64]  # (runs,) which error of the reference's mean each circle was given
    spaced: NDArray[np.float64]  # (m, k) statistics of windows that do not overlap


class _Kernel:
    """The kernel matrix in 16 bits, so that random reads find it in the cache."""

    def __init__(self, kernel: NDArray[np.float32], rng: np.random.Generator, block: int = 1) -> None:
        n = kernel.shape[0]
        self.n = n
        self.row_sums = kernel.sum(axis=1, dtype=np.float64)
        self.total = float(self.row_sums.sum())
        self.low = float(kernel.min())
        # The diagonal is never read, and may be far from all else.
        highest = max(float(np.delete(row, i).max()) for i, row in enumerate(kernel))
        self.step = max(highest - self.low, 1e-12) / _LEVELS
        codes = np.empty((n, n), dtype=np.uint16)
        for start in range(0, n, 1024):
            scaled = (kernel[start : start + 1024] - np.float32(self.low)) * np.float32(1.0 / self.step)
            codes[start : start + 1024] = np.minimum(scaled + np.float32(0.5), _LEVELS)
        self.flat = codes.reshape(-1)
        self._draw_errors(kernel, rng, block)

    def _draw_errors(self, kernel: NDArray[np.float32], rng: np.random.Generator, block: int) -> None:
        """What the reference's mean may be off by: sums of all centred rows with random signs.

        Rows of a stream have no share in such an error, nor has one error in another: the products of
        a row with itself and its block, which are none of operation's, are taken out of everything.
        """
        n, blocks = self.n, self.n // block
        signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), size=(blocks, _ERRORS))
        signs *= np.float32(np.sqrt(blocks / (blocks - 1.0)))  # about their own mean they vary too little
        signs = np.repeat(signs, block, axis=0)
        row_means, mean = self.row_sums / n, self.total / n**2
        sums = signs.sum(axis=0, dtype=np.float64)
        products = (kernel @ signs).astype(np.float64)
        products -= (row_means - mean)[:, None] * sums + row_means @ signs
        each = np.arange(blocks)
        together = kernel.reshape(blocks, block, blocks, block)[each, :, each, :].sum(
            axis=2, dtype=np.float64
        )
        together -= block * row_means.reshape(blocks, block)
        together -= row_means.reshape(blocks, block).sum(axis=1)[:, None] - block * mean
        own = together.reshape(n)  # what a centred row has in common with its block
        products -= signs * own[:, None]
        # (errors, n): how far each row lies along each error; (errors, errors): each along the others.
        self.along_error = np.ascontiguousarray((products - products.mean(axis=0)).T / n)
        self.error_products = signs.T @ products / n**2
        self.error_variance = float(own.sum()) * blocks / (blocks - 1.0) / n**2

    def between(self, errors: NDArray[np.int64], moves: NDArray[np.int64]) -> NDArray[np.float64]:
        """(c,) what the statistics of a circle have in common: how far apart error and move lie."""
        products, mean = self.error_products, self.total / self.n**2
        lengths = products[errors, errors] + products[moves, moves] + 2.0 * self.error_variance
        bias = (1.0 - mean) / (self.n - 1.0)
        return np.asarray(lengths - 2.0 * products[errors, moves] + mean - bias)


def simulate(
    kernel: NDArray[np.float32],
    windows: tuple[int, ...],
    length: int,
    runs: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
    block: int = 1,
) -> NullRuns:
    """Draw ``runs`` circles of ``length`` rows and slide every window around them.

    ``kernel`` is (N, N) float32 with ones on the diagonal, of rows in consecutive blocks of ``block``;
    ``2 * windows[-1] <= length <= N``, and ``length`` is at most ``block`` or a multiple of it. Costs
    ``runs * length * windows[-1]`` reads of kernel values.
    """
    source = _Kernel(kernel, rng, block)
    widest, k = windows[-1], len(windows)
    together = max(1, _STEP // (length * widest))
    circles = _Circles(source, windows, together, length)
    rows = _draw_rows(source.n, length, runs, rng, block)
    errors, moves = _draw_errors(runs)
    maxima, peaks = np.empty((runs, k)), np.empty((runs, k), dtype=np.int64)
    spaced = []
    for start in range(0, runs, together):
        some = slice(start, min(start + together, runs))
        stats = circles.statistics(rows[some].astype(np.int64), errors[some], moves[some])
        at = stats.argmax(axis=1)
        peaks[some] = at
        maxima[some] = np.take_along_axis(stats, at[:, None, :], axis=1)[:, 0, :]
        spaced.append(stats[:, ::widest].reshape(-1, k))
        if progress is not None:
            progress(some.stop / runs)
    return NullRuns(windows, block, length, maxima, peaks, rows, errors, np.concatenate(spaced))


def _draw_rows(n: int, length: int, runs: int, rng: np.random.Generator, block: int = 1) -> NDArray[np.int32]:
    """(runs, length) rows without replacement: permutations of the reference's blocks, cut into runs."""
    piece = min(block, length)  # rows that keep their order
    parts, slack = block // piece, block % piece
    firsts = (np.arange(n // block)[:, None] * block + np.arange(parts) * piece).astype(np.int32)
    pieces = length // piece
    each = firsts.size // pieces
    out = np.empty((-(-runs // each) * each, pieces), dtype=np.int32)
    order = firsts.reshape(-1)
    for start in range(0, out.shape[0], each):
        if slack:
            order = (firsts + rng.integers(slack + 1, size=(len(firsts), 1), dtype=np.int32)).reshape(-1)
        rng.shuffle(order)
        out[start : start + each] = order[: each * pieces].reshape(each, pieces)
    rows = np.add(out[:runs, :, None], np.arange(piece, dtype=np.int32), dtype=np.int32)
    return rows.reshape(runs, length)


def _draw_errors(runs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(runs,) errors of the reference, each equally often, and as many moves of a circle, never the same."""
    # Several runs with each error say how much it matters.
    turn, errors = np.divmod(np.arange(runs), min(_ERRORS, max(2, runs // _RUNS_PER_ERROR)))
    return errors, (errors + 1 + turn % (_ERRORS - 1)) % _ERRORS


class _Circles:
    """Statistics around ``c`` circles at a time, in buffers that are used again and again."""

    def __init__(self, source: _Kernel, windows: tuple[int, ...], c: int, length: int) -> None:
        self.source, self.windows, self.length = source, windows, length
        self.reach = windows[-1] - 1
        self.step = min(length, max(1, _STEP // (c * self.reach)))
        self.index = np.empty((c, self.step, self.reach), dtype=np.int64)
        self.codes = np.empty((c, self.step, self.reach), dtype=np.uint16)
        self.band = np.empty((c, length + self.reach, self.reach), dtype=np.float32)
        strides = self.band.strides
        # later[c, t, j]: row t with the row (j + 1) places further along the circle.
        self.later = as_strided(
            self.band[:, 1:, self.reach - 1 :],
            shape=(c, length, self.reach),
            strides=(strides[0], strides[1], strides[1] - strides[2]),
            writeable=False,
        )
        # Members of a window with those before them in it.
        self.inside = [np.tril(np.ones((w, w - 1), dtype=np.float32), -1)[:, ::-1].copy() for w in windows]

    def statistics(
        self, rows: NDArray[np.int64], errors: NDArray[np.int64], moves: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(c, length, k): the statistic of the window that ends at each position of (c, length) rows.

        ``errors`` and ``moves`` (c,) choose the error of the reference that each circle is given, and
        by what it is moved.
        """
        c, length = rows.shape
        source, reach = self.source, self.reach
        band = self._fill(rows)
        around = np.concatenate([rows[:, length - reach :], rows], axis=1)
        sums, off = np.zeros((c, length + reach + 1)), np.zeros((c, length + reach + 1))
        np.cumsum(source.row_sums[around], axis=1, out=sums[:, 1:])
        along = source.along_error[errors[:, None], around]
        along -= source.along_error[moves[:, None], around]
        np.cumsum(along, axis=1, out=off[:, 1:])
        out = np.empty((c, length, len(self.windows)))
        for column, w in enumerate(self.windows):
            near = slice(reach - (w - 1), reach)
            arriving = (band[:, :length, near] @ np.ones(w - 1, dtype=np.float32)).astype(np.float64)
            leaving = self.later[:c, :, : w - 1].sum(axis=2)
            # The window ending at 0 has its members at -(w - 1)..0; its pairs are counted directly.
            last = np.concatenate([band[:, length - w + 1 : length, near], band[:, :1, near]], axis=1)
            pairs = np.empty((c, length))
            pairs[:, 0] = last.reshape(c, -1) @ self.inside[column].reshape(-1)
            pairs[:, 1:] = arriving[:, 1:] - np.roll(leaving, w, axis=1)[:, 1:]
            np.cumsum(pairs, axis=1, out=pairs)
            pairs *= source.step
            pairs += source.low * (w * (w - 1) / 2.0)
            ends, starts = slice(reach + 1, None), slice(reach + 1 - w, reach + 1 - w + length)
            inside = pairs * (2.0 / (w * (w - 1.0)))
            across = (sums[:, ends] - sums[:, starts]) / source.n + (off[:, ends] - off[:, starts])
            out[:, :, column] = inside - across * (2.0 / w) + source.between(errors, moves)[:, None]
        return out

    def _fill(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(c, length + reach, reach): each row with those before it on the circle, the nearest last."""
        c, length = rows.shape
        reach = self.reach
        around = np.concatenate([rows[:, length - reach :], rows], axis=1)
        before = sliding_window_view(around, reach, axis=1)[:, :length]
        base = (rows * self.source.n)[:, :, None]
        band = self.band[:c]
        for start in range(0, length, self.step):
            part = slice(start, min(start + self.step, length))
            index, codes = self.index[:c, : part.stop - start], self.codes[:c, : part.stop - start]
            np.add(base[:, part], before[:, part], out=index)
            # "wrap" spares a check and a buffer; every index is in range.
            self.source.flat.take(index, out=codes, mode="wrap")
            band[:, part] = codes
        band[:, length:] = band[:, :reach]  # the circle closes
        return band

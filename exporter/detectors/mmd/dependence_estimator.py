"""Learns the dependence of a stream while it runs, without taking a drift for it.

What is learned is kept in segments of about a thousand rows, and the last twenty of them count. A
segment in which the statistic is high beyond what its own dependence explains holds drift: neither
it nor the one before it, in which the drift may have begun, is learned from.
[Initial sequences: Geyer 1992. Long-run variance under a kernel: Chwialkowski and Gretton, ICML 2014.]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.detectors.mmd.dependence import FEWEST_MAXIMA, Dependence, Null
from exporter.detectors.mmd.fitted import Fitted
from exporter.detectors.mmd.kernel import Witness, squared_norms
from exporter.detectors.mmd.lags import APART, Factors, FarPairs, LagSums, block_sums, lag_sums, series_sums

SEGMENT = 1024  # rows, or as many as a simulated run is long
_FIRST = 32
_CHUNK = 256
_SOON = 3  # windows: until then a segment is learned from before the next one is seen, but warily
_SEGMENTS = 20
_HIGH = 0.5  # of the threshold: what the mean of a segment reaches only by drift
_LOUD = 0.2  # share of tests above the threshold that independent drift alone explains


@dataclass(frozen=True, slots=True)
class _Segment:
    """What is kept of a part of the stream."""

    sums: LagSums
    maxima: NDArray[np.float64]  # (m, k) largest statistics, of each part of the segment
    mean: NDArray[np.float64]  # (k,) of the statistic; NaN without tests
    drift: bool

    @property
    def rows(self) -> int:
        return int(self.sums.rows[0])


@dataclass(slots=True)
class _Open:
    """The segment that is being filled, with what precedes it."""

    near: NDArray[np.float64]
    far: NDArray[np.float64]  # sum and number
    start: int  # index, in the series, of its first row
    series: list[NDArray[np.float64]] = field(default_factory=list)
    witness: list[NDArray[np.float64]] = field(default_factory=list)
    statistics: list[NDArray[np.float64]] = field(default_factory=list)
    rows: int = 0


class DependenceEstimator:
    """Learns a stream's dependence and corrects its statistic; a few hundred kilobytes, constant.

    Estimates change only at fixed places of the stream (32, 64, ... 1,024 rows, then each 1,024), so
    that verdicts do not depend on how it was cut into batches.
    """

    def __init__(self, null: Null, n_features: int, n_series: int) -> None:
        self.null = null
        self._widest = null.windows[-1]
        self._n_series = n_series
        self._size = max(SEGMENT, null.run_length)
        self._parts = max(1, self._size // max(1, null.run_length))
        self._most = max(_SEGMENTS, -(-FEWEST_MAXIMA // self._parts))
        self._far_pairs = FarPairs(self._widest, n_features)
        self._kept: list[_Segment] = []
        self._pending: _Segment | None = None
        self._open = self._opened([], [])
        self.count = 0
        self.found = Dependence.none(null.windows)

    @property
    def room(self) -> int:
        """How many rows may come before the estimates change."""
        if self.count < self._size:
            at = _FIRST
            while at <= self.count:
                at *= 2
            return min(at, self._size) - self.count
        return self._size - self.count % self._size

    def push(
        self,
        rows: Any,
        norms: NDArray[np.float64],
        witness: NDArray[np.float64],
        series: NDArray[np.float64],
        kernel: NDArray[np.float64],
        statistics: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Take b rows, at most ``room``; the (b, k) statistics, corrected by what is known before them.

        ``rows`` are scaled, with ``norms`` (b,); ``witness`` (b,) and ``series`` (b, q) centred sums of
        their kernel values with the reference, ``kernel`` (b, past + b) those with the window's rows
        and one another.
        """
        b, past = witness.size, kernel.shape[1] - witness.size
        found, now = self.found, self._open
        now.near += lag_sums(kernel, past, self.count, self._widest - 1)
        every = self._far_pairs.every
        some = slice(-self.count % every, None, every)
        if witness[some].size:
            places = self.count + np.arange(b, dtype=np.float64)[some]
            about = np.stack([places, norms[some], witness[some]], axis=1)
            now.far += self._far_pairs.push(on_host(rows[some]), about, self.null.kernel_mean)
        now.series.append(series)
        now.witness.append(witness)
        now.statistics.append(statistics)
        now.rows += b
        out: NDArray[np.float64] = (statistics - found.shift) / found.scale
        ends = b == self.room
        self.count += b
        if ends:
            self._close()
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that :meth:`restore` needs to go on."""
        now, far = self._open, self._far_pairs
        held = [*self._kept, *([] if self._pending is None else [self._pending])]
        sizes = [self.count, len(self._kept), len(held), now.start, now.rows, *(len(s.maxima) for s in held)]
        known = far.about[:, 0] >= 0
        parts = [np.array(sizes, dtype=np.float64), now.near, now.far, far.about[known].ravel()]
        for segment in held:
            parts += [
                segment.sums.flat(),
                segment.mean,
                np.array([float(segment.drift)]),
                segment.maxima.ravel(),
            ]
        parts += [array.ravel() for array in (*now.series, *now.witness, *now.statistics)]
        return {"dependence": np.concatenate(parts), "dependence_rows": far.rows[known]}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from ``state``; a ValueError if its arrays do not belong together."""
        rest, k = state["dependence"], len(self.null.windows)

        def take(*shape: int) -> NDArray[np.float64]:
            nonlocal rest
            size = int(np.prod(shape))
            part, rest = np.array(rest[:size]).reshape(shape), rest[size:]
            return part

        self.count, kept, held, start, rows = take(5).astype(np.int64).tolist()
        maxima = take(held).astype(np.int64).tolist()
        near, far_sums = take(self._widest - 1), take(2)
        far = state["dependence_rows"]
        self._far_pairs.restore(far, take(far.shape[0], 3))
        width = LagSums.zero(self._widest).flat().size
        segments = []
        for m in maxima:
            sums, mean, drift = LagSums.of(take(width), self._widest), take(k), bool(take(1)[0])
            segments.append(_Segment(sums, take(m, k), mean, drift))
        self._kept, self._pending = segments[:kept], segments[kept] if held > kept else None
        series, witness = take(start + rows, self._n_series), take(start + rows)
        statistics = take(rows, k)
        if rest.size:
            raise ValueError(f"{rest.size} numbers too many in the state of the dependence")
        self._open = _Open(near, far_sums, start, [series], [witness], [statistics], rows)
        self._estimate()

    def _opened(self, series: list[NDArray[np.float64]], witness: list[NDArray[np.float64]]) -> _Open:
        return _Open(
            np.zeros(self._widest - 1), np.zeros(2), sum(map(len, witness)), list(series), list(witness)
        )

    def _close(self) -> None:
        """A segment is full: learn from it, or rather from those that hold no drift."""
        now = self._open
        series, witness = np.concatenate(now.series), np.concatenate(now.witness)
        sums = series_sums(series, witness, now.start, self._widest, self.null.kernel_mean)
        sums = replace(sums, near=sums.near + now.near, far=sums.far + np.append(now.far, [0.0, 0.0]))
        segment = self._judged(sums, np.concatenate(now.statistics))
        keep = APART[1] * self._widest
        self._open = self._opened([series[-keep:].copy()], [witness[-keep:].copy()])
        before, self._pending = self._pending, segment
        if before is not None and not before.drift and not segment.drift:
            self._kept.append(before)
            del self._kept[: -self._most]
        self._estimate()

    def _judged(self, sums: LagSums, statistics: NDArray[np.float64]) -> _Segment:
        """A segment, and whether it holds drift: more than its own dependence explains."""
        null, k = self.null, len(self.null.windows)
        tested = ~np.isnan(statistics)
        counts = tested.sum(axis=0)
        mean = np.full(k, np.nan)
        np.divide(np.where(tested, statistics, 0.0).sum(axis=0), counts, out=mean, where=counts > 0)
        short = sums.rows[0] < _SOON * self._widest
        own = Factors.of(sums, null.windows, null.kernel_mean, null.kernel_sd, wary=short)
        found = self.found if own is None else Dependence.of(own, int(sums.rows[0]), null)
        corrected = (statistics - found.shift) / found.scale
        loud = np.divide((corrected > null.thresholds).sum(axis=0), counts, out=np.zeros(k), where=counts > 0)
        high = np.where(counts > 0, (mean - found.shift) / found.scale, 0.0) > _HIGH * null.thresholds
        maxima = np.empty((0, k))
        if statistics.shape[0] == self._size and tested.all():
            length = self._size // self._parts
            maxima = statistics[: length * self._parts].reshape(self._parts, length, k).max(axis=1)
        return _Segment(sums, maxima, mean, bool((high | (loud > _LOUD)).any()))

    def _estimate(self) -> None:
        null, used = self.null, list(self._kept)
        soon = sum(segment.rows for segment in used) < _SOON * self._widest
        if soon and self._pending is not None and not self._pending.drift:
            used.append(self._pending)
        if not used:  # nor any more, if a drift turned out to have begun in the only one
            self.found = Dependence.none(null.windows)
            return
        sums = used[0].sums
        for segment in used[1:]:
            sums = sums + segment.sums
        factors = Factors.of(sums, null.windows, null.kernel_mean, null.kernel_sd, wary=soon)
        if factors is None:
            return
        rows = int(sums.rows[0])
        if factors.constant:
            reason = "the stream hardly varies: its dependence cannot be seen"
            self.found = Dependence.none(null.windows, rows, reason)
            return
        found = Dependence.of(factors, rows, null)
        maxima = np.concatenate([segment.maxima for segment in used])
        if null.loud_maxima and maxima.shape[0] >= FEWEST_MAXIMA:
            mean = np.array([segment.mean for segment in used if segment.maxima.size]).mean(axis=0)
            found = found.refined(maxima, mean, factors.significant, null)
        self.found = found.judged(self._size, null.expected_run_length)


def own_factors(witness: Witness, z: Any, fitted: Fitted) -> Factors:
    """The dependence of a reference's own blocks, which its thresholds hold already."""
    norms, starts = squared_norms(z), range(0, z.shape[0], _CHUNK)
    parts = [witness(z[s : s + _CHUNK], norms[s : s + _CHUNK]) for s in starts]
    values = np.concatenate([part[0] for part in parts])
    values, series = witness.without_own_share(values, np.concatenate([part[1] for part in parts]))
    a = fitted.reference_kernel_mean
    sums = block_sums(on_host(z), values, series, fitted.block, fitted.windows[-1], a)
    return Factors.of(sums, fitted.windows, a, witness.kernel_sd) or Factors.none(len(fitted.windows))

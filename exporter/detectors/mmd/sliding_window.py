"""The last W rows, their witness values, and the kernel sums of every window that ends now.

Kernel values are rounded to a multiple of a power of two small enough to be invisible (below 1e-9
for windows up to 1,000) and large enough that every sum of them fits into a float64 without
rounding. Sums are then exact: they never drift, however long the stream, and do not depend on the
order of additions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.detectors.mmd.kernel import FAR
from exporter.detectors.mmd.lags import BLOCK  # the product within a block is wasted outside the window


class SlidingWindow:
    """Constant memory: 2 W + 64 rows on the device; W numbers, and W for each window, on the host.

    ``like`` is any (n, d) float32 array on the device.
    """

    def __init__(self, windows: tuple[int, ...], like: Any) -> None:
        self._windows = windows
        self._widest = windows[-1]
        bits = min(40, 51 - int(np.ceil(np.log2(self._widest**2))))
        # Adding and subtracting this rounds values of 0 to 1 to multiples of 2 ** -bits.
        self._rounder = 1.5 * 2.0 ** (52 - bits)
        self._xp = array_namespace(like)
        self._buffer = self._xp.zeros(
            (2 * self._widest + BLOCK, like.shape[1]), dtype=like.dtype, device=device(like)
        )
        self._end = 0
        self._norms = np.zeros(0)
        self._values = np.zeros(0)
        self._forward = np.zeros((len(windows), 0))
        self._pairs = np.zeros(len(windows))
        self._masks: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
        self.count = 0

    def push(
        self, z: Any, norms: NDArray[np.float64], values: NDArray[np.float64], a: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take 1 to ``BLOCK`` scaled rows, with squared norms and witness values.

        Returns (b, k) statistics, NaN where a window is not full, and (b, past + b) kernel values of
        the new rows with those that were held and with one another; ``a`` is the reference's mean
        off-diagonal kernel value.
        """
        b, past = values.size, self._norms.size
        rows = self._append(z, past)
        norms = np.concatenate([self._norms, norms])
        values = np.concatenate([self._values, self._round(values)])
        kernel = self._kernel(rows, norms, past)
        sums = np.zeros(past + b + 1)
        np.cumsum(values, out=sums[1:])
        forward = np.concatenate([self._forward, np.zeros((len(self._windows), b))], axis=1)
        out = np.full((b, len(self._windows)), np.nan)
        for column, (w, mask) in enumerate(zip(self._windows, self._bands(b, past), strict=True)):
            near = kernel * mask
            change = near.sum(axis=1)
            # Each row also carries its sum with its followers, to be taken off when it leaves.
            forward[column] += near.sum(axis=0)
            gone = max(0, min(b, past + b - w))  # rows that leave, one with each of the last `gone`
            if gone:
                first = max(0, past - w)
                change[b - gone :] -= forward[column, first : first + gone]
            pairs = self._pairs[column] + np.cumsum(change)
            self._pairs[column] = pairs[-1]
            start = max(0, w - 1 - self.count)
            if start < b:
                ends = slice(past + start + 1, past + b + 1)
                starts = slice(past + start + 1 - w, past + b + 1 - w)
                inside = pairs[start:] * (2.0 / (w * (w - 1.0)))
                out[start:, column] = a + inside - (sums[ends] - sums[starts]) * (2.0 / w)
        self.count += b
        keep = max(0, past + b - self._widest)
        self._norms, self._values, self._forward = norms[keep:], values[keep:], forward[:, keep:]
        return out, kernel

    def last(self, w: int) -> tuple[Any, NDArray[np.float64]]:
        """The last ``w`` scaled rows, oldest first, and their witness values."""
        have = min(w, self._values.size)
        return self._buffer[self._end - have : self._end], self._values[self._values.size - have :].copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that :meth:`restore` needs to go on."""
        return {
            "ring_rows": on_host(self.last(self._widest)[0]),
            "ring_norms": self._norms,
            "ring_values": self._values,
            "ring_forward": self._forward,
            "ring_pairs": self._pairs,
            "ring_count": np.array([self.count]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from ``state``; a ValueError if its arrays do not belong together."""
        rows, count = state["ring_rows"], int(state["ring_count"][0])
        held, k = rows.shape[0], len(self._windows)
        one = (held,)
        shapes = {"ring_norms": one, "ring_values": one, "ring_forward": (k, held), "ring_pairs": (k,)}
        wrong = [name for name, shape in shapes.items() if state[name].shape != shape]
        if wrong or held != min(count, self._widest) or rows.shape[1] != self._buffer.shape[1]:
            raise ValueError(f"running state of inconsistent shapes: {wrong or rows.shape}")
        self._buffer[:held] = self._xp.asarray(rows, device=device(self._buffer))
        self._end = held
        self._norms, self._values = state["ring_norms"], state["ring_values"]
        self._forward, self._pairs = state["ring_forward"], state["ring_pairs"].copy()
        self.count = count

    def _append(self, z: Any, past: int) -> Any:
        """Put the new rows behind the old ones; all of them, oldest first."""
        b = z.shape[0]
        if self._end + b > self._buffer.shape[0]:
            # The buffer holds twice the ring: source and target do not overlap.
            self._buffer[:past] = self._buffer[self._end - past : self._end]
            self._end = past
        self._buffer[self._end : self._end + b] = z
        self._end += b
        return self._buffer[self._end - b - past : self._end]

    def _bands(self, b: int, past: int) -> list[NDArray[np.float64]]:
        """For each window, (b, past + b) of 1 where a row lies before another in the same window."""
        masks = self._masks.get((b, past))
        if masks is None:
            lag = past + np.arange(b)[:, None] - np.arange(past + b)[None, :]
            masks = [((lag >= 1) & (lag < w)).astype(np.float64) for w in self._windows]
            if len(self._masks) >= 4:  # while the ring fills, the shapes change; then they stay
                self._masks.clear()
            self._masks[b, past] = masks
        return masks

    def _round(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x + self._rounder) - self._rounder

    def _kernel(self, rows: Any, norms: NDArray[np.float64], past: int) -> NDArray[np.float64]:
        """(b, past + b) kernel values between the new rows and all of the ring."""
        if norms.max() > FAR:
            rows = self._xp.astype(rows, self._xp.float64)
        exponent = on_host(rows[past:] @ rows.T).astype(np.float64)
        exponent *= 2.0
        exponent -= norms[past:, None]
        exponent -= norms
        np.minimum(exponent, 0.0, out=exponent)
        return self._round(np.exp(exponent, out=exponent))

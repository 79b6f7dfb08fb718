"""The last W rows, their witness values, and the kernel sums of every window that ends now.

Kernel values are rounded to a multiple of a power of two small enough to be invisible (below 1e-9)
and large enough that every sum of them fits into a float64 without rounding. Sums are then exact:
they never drift, however long the stream, and do not depend on the order of additions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from exporter.detect.kernel import to_numpy

# Rows further out than this are compared in float64: float32 products would cancel.
_FAR = 64.0


class Ring:
    """Constant memory: W rows on the device; W numbers, and W for each window length, on the host."""

    def __init__(self, windows: tuple[int, ...], empty: Any) -> None:
        self._windows = windows
        self._widest = windows[-1]
        bits = 51 - int(np.ceil(np.log2(self._widest**2)))
        # Adding and subtracting this rounds values of 0 to 1 to multiples of 2 ** -bits.
        self._rounder = 1.5 * 2.0 ** (52 - min(bits, 40))
        self._rows = empty
        self.count = 0
        self._norms = np.zeros(0)
        self._values = np.zeros(0)
        self._forward = np.zeros((len(windows), 0))
        self._pairs = np.zeros(len(windows))

    def push(
        self, z: Any, norms: NDArray[np.float64], values: NDArray[np.float64], a: float
    ) -> NDArray[np.float64]:
        """Take b scaled rows with their squared norms and witness values; give (b, k) statistics."""
        xp = array_namespace(z)
        b = values.size
        rows = xp.concat([self._rows, z], axis=0)
        norms = np.concatenate([self._norms, norms])
        values = np.concatenate([self._values, self._round(values)])
        past = norms.size - b
        kernel = self._round(self._kernel(z, rows, norms, past))
        by_row = _running_sum(kernel, axis=1)
        by_column = _running_sum(kernel, axis=0)
        witness_sums = _running_sum(values, axis=0)
        forward = np.concatenate([self._forward, np.zeros((len(self._windows), b))], axis=1)
        index = np.arange(b)
        position = np.arange(past + b)
        out = np.full((b, len(self._windows)), np.nan)
        for column, w in enumerate(self._windows):
            incoming = by_row[index, past + index] - by_row[index, np.maximum(past + index - (w - 1), 0)]
            low = np.clip(position - past + 1, 0, b)
            high = np.clip(position + w - past, low, b)
            forward[column] += by_column[high, position] - by_column[low, position]
            leaving = past + index - w
            outgoing = np.where(leaving >= 0, forward[column, np.maximum(leaving, 0)], 0.0)
            pairs = self._pairs[column] + np.cumsum(incoming - outgoing)
            self._pairs[column] = pairs[-1]
            full = self.count + index + 1 >= w
            end = past + index[full] + 1
            c = (witness_sums[end] - witness_sums[end - w]) / w
            out[full, column] = a + 2.0 * pairs[full] / (w * (w - 1.0)) - 2.0 * c
        self.count += b
        keep = slice(max(0, past + b - self._widest), None)
        self._rows, self._norms, self._values = rows[keep], norms[keep], values[keep]
        self._forward = forward[:, keep]
        return out

    def last(self, w: int) -> tuple[Any, NDArray[np.float64]]:
        """The last ``w`` scaled rows, oldest first, and their witness values."""
        start = max(0, self._values.size - w)
        return self._rows[start:], self._values[start:].copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that :meth:`restore` needs to go on."""
        return {
            "ring_rows": to_numpy(self._rows),
            "ring_norms": self._norms,
            "ring_values": self._values,
            "ring_forward": self._forward,
            "ring_pairs": self._pairs,
            "ring_count": np.array([self.count]),
        }

    def restore(self, state: dict[str, NDArray[Any]], rows: Any) -> None:
        """Go on from ``state``; ``rows`` are its rows, on the device."""
        self._rows = rows
        self._norms, self._values = state["ring_norms"], state["ring_values"]
        self._forward, self._pairs = state["ring_forward"], state["ring_pairs"].copy()
        self.count = int(state["ring_count"][0])

    def _round(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x + self._rounder) - self._rounder

    def _kernel(self, z: Any, rows: Any, norms: NDArray[np.float64], past: int) -> NDArray[np.float64]:
        """(b, past + b) float64 kernel values between the new rows and all of the ring."""
        if norms.max() > _FAR:
            xp = array_namespace(z)
            z, rows = xp.astype(z, xp.float64), xp.astype(rows, xp.float64)
        exponent = 2.0 * to_numpy(z @ rows.T).astype(np.float64)
        exponent -= norms[past:, None]
        exponent -= norms[None, :]
        return np.exp(np.minimum(exponent, 0.0))


def _running_sum(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Sums of the first 0, 1, 2, ... entries along ``axis``."""
    out = np.zeros(tuple(s + (i == axis) for i, s in enumerate(x.shape)))
    inner = tuple(slice(1, None) if i == axis else slice(None) for i in range(x.ndim))
    np.cumsum(x, axis=axis, out=out[inner])
    return out

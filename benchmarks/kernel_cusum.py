"""Online kernel CUSUM, written from its paper as a yardstick for the delay of detection.

Wei and Xie, Online kernel CUSUM for change-point detection (2022, arXiv:2211.15070): the scan over all
recent block sizes B of the standardised average squared MMD between the last B observations and the
last B rows of each of M reference blocks. Variances are taken from a null stream, all M * B * B
cross pairs are used, and B runs over the even numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PIECE = 1000


class KernelCusum:
    """``reference`` is cut into blocks of ``largest`` rows; ``null`` is a stream without change."""

    def __init__(
        self,
        reference: NDArray[np.float32],
        bandwidth: float,
        null: NDArray[np.float32],
        largest: int = 50,
    ) -> None:
        blocks = reference.shape[0] // largest
        self.sizes = np.arange(2, largest + 1, 2)
        self.largest = largest
        self._gamma = 1.0 / (2.0 * bandwidth**2)
        # Position-major, so that the last B rows of all blocks are contiguous.
        self._rows = reference[: blocks * largest].reshape(blocks, largest, -1).transpose(1, 0, 2)
        inside = np.stack([self._kernel(block, block) for block in self._rows.transpose(1, 0, 2)])
        self._a = np.array(
            [(inside[:, -b:, -b:].sum(axis=(1, 2)) - b).mean() / (b * (b - 1.0)) for b in self.sizes]
        )
        self._sd = np.ones(self.sizes.size)
        self._sd = self._by_size(null).std(axis=0)

    def statistics(self, stream: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n - largest + 1,) statistic of every observation that has ``largest - 1`` before it."""
        return (self._by_size(stream) / self._sd).max(axis=1)

    def _kernel(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        distance = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None, :] - 2.0 * (x @ y.T)
        return np.exp(-self._gamma * np.maximum(distance, 0.0))

    def _by_size(self, stream: NDArray[np.float32]) -> NDArray[np.float64]:
        overlap = self.largest - 1
        pieces = range(0, stream.shape[0] - overlap, _PIECE)
        return np.concatenate([self._piece(stream[s : s + _PIECE + overlap]) for s in pieces])

    def _piece(self, y: NDArray[np.float32]) -> NDArray[np.float64]:
        n, largest = y.shape[0], self.largest
        cross = self._kernel(y, self._rows.reshape(-1, y.shape[1])).reshape(n, largest, -1)
        by_position = cross.mean(axis=2, dtype=np.float64)[:, ::-1].cumsum(axis=1)
        over_time = np.zeros((n + 1, self.sizes.size))
        np.cumsum(by_position[:, self.sizes - 1] / self.sizes, axis=0, out=over_time[1:])
        k = self._kernel(y, y)
        # followers[o, m]: the sum of the kernel values of row o with the m rows after it.
        followers = np.zeros((n, largest))
        for lag in range(1, largest):
            followers[: n - lag, lag] = np.diagonal(k, lag)
        followers = followers.cumsum(axis=1)
        ends = np.arange(largest - 1, n)[:, None]
        back = np.arange(largest)[None, :]
        pairs = followers[ends - back, back].cumsum(axis=1)[:, self.sizes - 1]
        size = self.sizes
        c = np.stack(
            [
                (over_time[ends[:, 0] + 1, j] - over_time[ends[:, 0] + 1 - b, j]) / b
                for j, b in enumerate(size)
            ],
            axis=1,
        )
        return self._a + 2.0 * pairs / (size * (size - 1.0)) - 2.0 * c

"""The Gaussian RBF kernel ``k(x, y) = exp(-|x - y|^2 / (2 sigma^2))`` on centred, scaled rows.

Rows are brought to ``z = (x - mean) / (sigma sqrt(2))`` once, so that ``k = exp(-|z - z'|^2)``
whatever the offset and the scale of the data: the centring keeps float32 products free of
cancellation, the scaling keeps them free of overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from numpy.typing import NDArray

from exporter.arrays import on_host, to_device

# Scaled coordinates beyond this lie at kernel value 0 from everything; kept finite in float32 when squared.
FARTHEST = 1e12
_MEDIAN_ROWS = 1000
_BLOCK = 64  # rows of exponentials that are taken at once
_LANDMARKS = 400
SERIES = 16


# Beyond this squared norm float32 products of two rows would cancel: see Rows.far.
FAR = 64.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Scaled rows, ready for kernel products."""

    z: Any  # (n, d) float32 on the engine's device
    squared_norm: NDArray[np.float64]  # (n,) |z|^2
    finite: NDArray[np.bool_]  # (m,) over the *given* rows: those that were kept, n of m


@dataclass(frozen=True, slots=True)
class Scaling:
    """The map from embeddings to scaled rows."""

    mean: Any  # (d,) float64 on the engine's device
    factor: float  # 1 / (sigma sqrt(2))

    @classmethod
    def of(cls, reference: NDArray[np.float64], bandwidth: float, device: str) -> tuple[Scaling, Rows]:
        """The map for (n, d) reference rows and a bandwidth sigma, and these rows by it."""
        mean = to_device(reference.mean(axis=0), device)
        scaling = cls(mean, 1.0 / (bandwidth * math.sqrt(2.0)))
        return scaling, scaling.apply(to_device(reference, device))

    def apply(self, x: Any) -> Rows:
        """Scale (n, d) rows of any real dtype; drop those with NaN or infinity."""
        xp = array_namespace(self.mean)
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the norm, and dealt with
            scaled = (x if is_numpy_array(x) else xp.astype(x, xp.float64)) - self.mean
            scaled *= self.factor
            norm = on_host(xp.vecdot(scaled, scaled))
        if norm.size and not norm.max() < FAR:
            return self._apply_far(x, scaled)
        return Rows(xp.astype(scaled, xp.float32), norm, np.ones(norm.shape, dtype=np.bool_))

    def _apply_far(self, x: Any, scaled: Any) -> Rows:
        """The same with care: refuse what is not finite, bound what is huge, take norms as rounded."""
        xp = array_namespace(self.mean)
        finite = on_host(xp.all(xp.isfinite(x), axis=1))
        keep = xp.asarray(np.flatnonzero(finite), device=device(scaled))
        kept = xp.take(scaled, keep, axis=0)
        # A finite row can overflow when scaled; NaN cannot arise, and clip bounds the infinite.
        z = xp.astype(xp.clip(kept, -FARTHEST, FARTHEST), xp.float32)
        return Rows(z, squared_norms(z), finite)


def squared_norms(z: Any) -> NDArray[np.float64]:
    """(n,) squared lengths of (n, d) rows, summed in float64."""
    xp = array_namespace(z)
    z = xp.astype(z, xp.float64)
    return on_host(xp.vecdot(z, z))


class Witness:
    """Mean kernel value between new rows and the reference: one N x b product.

    On the way it sums the kernel values with 400 of the reference's rows by random signs, ``SERIES``
    times: the products of such sums are, on average, those of all 400 values. [Hutchinson 1990.]

    Holds the reference on its device, and ``chunk`` x N float32 and ``_BLOCK`` x N float64 numbers.
    Exponentials are taken in float64: those of float32 are off by up to 3e-8 in the mean where, in many
    dimensions, all distances are alike, which is visible beside the statistic.
    """

    def __init__(self, reference: Rows, chunk: int) -> None:
        xp = array_namespace(reference.z)
        where = device(reference.z)
        n = reference.squared_norm.size
        self._xp = xp
        # The landmarks, one row in so many, stand first: what is multiplied lies together.
        every = max(1, n // _LANDMARKS)
        self._landmarks = np.arange(0, n, every)[:_LANDMARKS]
        order = np.concatenate([self._landmarks, np.setdiff1d(np.arange(n), self._landmarks)])
        z = xp.take(reference.z, xp.asarray(order, device=where), axis=0)
        norms = reference.squared_norm[order]
        # One product gives the full exponent: (z, 1, -|z|^2) times (2 x, -|x|^2, 1). Laid out as it is
        # read: few rows cost a third of what a transposed view costs.
        self._reference = xp.empty((z.shape[1] + 2, n), dtype=xp.float32, device=where)
        self._reference[:-2] = (z * 2.0).T
        self._reference[-2] = xp.asarray(-norms.astype(np.float32), device=where)
        self._reference[-1] = 1.0
        self._near = bool(reference.squared_norm.max() < FAR)
        self._zero = xp.zeros((), dtype=xp.float32, device=where)
        # What is worked on at once stays in the cache of a processor; other devices want large pieces.
        self._block = min(_BLOCK, chunk) if is_numpy_array(reference.z) else chunk
        self._narrow = xp.empty((chunk, n), dtype=xp.float32, device=where)
        self._wide = xp.empty((self._block, n), dtype=xp.float64, device=where)
        self._ones = xp.ones(n, dtype=xp.float64, device=where)
        m = self._landmarks.size
        few = kernel_matrix(z[:m], norms[:m]).astype(np.float64)
        signs = np.random.default_rng(0).choice(np.array([-1.0, 1.0]), size=(m, SERIES))
        self._signs = xp.asarray(signs, device=where)
        means = (few.sum(axis=1) - 1.0) / (m - 1.0)
        self._centre = means @ signs
        self._own = (1.0 - means)[:, None] * signs
        centred = few - means[:, None] - means + means.mean()
        self.kernel_sd = float(np.sqrt((centred[~np.eye(m, dtype=np.bool_)] ** 2).mean()))
        """Standard deviation of the reference's centred kernel values, without those of a row with itself."""

    def __call__(
        self, z: Any, squared_norm: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(b,) float64 witness values of (b, d) scaled rows, b at most ``chunk``; (b, SERIES) centred sums.

        What float32 loses of ``squared_norm`` is the same for all of a row of kernel values and
        would not average out; it is put back in float64.
        """
        xp, b = self._xp, squared_norm.size
        high = squared_norm.astype(np.float32)
        last = np.ones((b, 2), dtype=np.float32)
        np.negative(high, out=last[:, 1])
        exponent = self._narrow[:b]
        xp.matmul(xp.concat([z, xp.asarray(last, device=device(z))], axis=1), self._reference, out=exponent)
        if not (self._near and b and squared_norm.max() < FAR):
            # The products of float32 cancel; where they do not, an excess over 0 is in the last bits.
            xp.minimum(exponent, self._zero, out=exponent)
        sums, series = [np.zeros(0)], [np.zeros((0, SERIES))]
        for start in range(0, b, self._block):
            block = exponent[start : start + self._block]
            k = self._wide[: block.shape[0]]
            k[:] = block
            xp.exp(k, out=k)
            sums.append(on_host(xp.matmul(k, self._ones)))
            series.append(on_host(xp.matmul(k[:, : self._landmarks.size], self._signs)))
        # Where the norm is huge the difference is too, and the mean is 0.
        lost = np.exp(np.clip(high - squared_norm, -1.0, 1.0))
        mean = np.concatenate(sums) / self._ones.shape[0]
        return mean * lost, np.concatenate(series) * lost[:, None] - self._centre

    def without_own_share(
        self, values: NDArray[np.float64], series: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N,) witnesses and (N, SERIES) sums of the reference's own rows, as if each were not in it."""
        n, series = values.size, series.copy()
        series[self._landmarks] -= self._own
        return (n * values - 1.0) / (n - 1.0), series


def squared_distances(y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float64]:
    """(m, n) float64 squared distances between the rows of (m, d) and of (n, d)."""
    centre = x.mean(axis=0, dtype=np.float64)
    y, x = y - centre, x - centre
    distance = np.einsum("ij,ij->i", y, y)[:, None] + np.einsum("ij,ij->i", x, x)[None, :] - 2.0 * (y @ x.T)
    return np.asarray(np.maximum(distance, 0.0))


def median_bandwidth(x: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Bandwidth sigma by the median heuristic: ``sigma^2`` is half the median squared distance.

    ``x`` is (n, d) float64, centred; at most 1,000 of its rows, drawn without replacement, are
    compared. Where more than half of the pairs coincide, the median is over the others.
    [Gretton et al., JMLR 2012, section 8.]
    """
    if x.shape[0] > _MEDIAN_ROWS:
        x = x[rng.choice(x.shape[0], _MEDIAN_ROWS, replace=False)]
    largest = float(np.abs(x).max())
    x = x / largest
    norm = np.einsum("ij,ij->i", x, x)
    distance = (norm[:, None] + norm[None, :] - 2.0 * (x @ x.T))[np.triu_indices(x.shape[0], 1)]
    median = float(np.median(distance))
    smallest = 1e-14 * float(norm.max())
    if median <= smallest:
        median = float(np.median(distance[distance > smallest]))
    return float(np.sqrt(0.5 * median)) * largest


def kernel_matrix(z: Any, squared_norm: NDArray[np.float64], chunk: int = 1024) -> NDArray[np.float32]:
    """(N, N) float32 kernel values between all scaled rows; the diagonal is exactly 1."""
    xp = array_namespace(z)
    n = z.shape[0]
    out = np.empty((n, n), dtype=np.float32)
    norm = xp.asarray(squared_norm.astype(np.float32), device=device(z))
    for start in range(0, n, chunk):
        rows = slice(start, min(start + chunk, n))
        exponent = (2.0 * z[rows]) @ z.T
        exponent -= norm
        exponent -= norm[rows][:, None]
        out[rows] = on_host(xp.exp(xp.astype(xp.clip(exponent, None, 0.0), xp.float64)))
    np.fill_diagonal(out, 1.0)
    return out

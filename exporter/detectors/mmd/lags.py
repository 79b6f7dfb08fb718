"""How alike the rows of a stream are at each distance in it, and by what factor that inflates a window.

Two measures of likeness at a lag l. *Kernel values*, less the witnesses of both rows (which takes off
what either shares with the reference, and with it most of the noise), say by how much the mean of the
statistic rises. *Products* of each row's kernel values with some reference rows, brought to a few
random sums, weigh the leading directions of the kernel as the spread of the statistic does.

Both are taken relative to rows four to five windows apart, not to the reference: a stream that has
drifted, by a step long ago or slowly, is as dependent as it was before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from exporter.detectors.mmd.kernel import FAR, squared_distances

BLOCK = 64  # rows taken at once
APART = (4, 5)  # windows between rows that are taken for independent
_FEWEST_FAR = 200  # pairs of them, below which the longest known lags serve
_FEWEST_LAGS = 16
_SIGNIFICANT = 3.0  # standard errors
_CONSTANT = 1e-9
_SLACK = 2.0
_LIKEST = 0.98  # neighbours, beyond which nothing is said of how far likeness may reach


@dataclass(frozen=True, slots=True)
class LagSums:
    """Sums over a segment of the stream, or over several: they add up.

    The lags of ``near`` are 1 to the longest window less one, those of ``products`` begin at 0.
    """

    near: NDArray[np.float64]  # (w - 1,) kernel values, less both witnesses
    near_pairs: NDArray[np.float64]
    products: NDArray[np.float64]  # (w,)
    product_pairs: NDArray[np.float64]
    far: NDArray[np.float64]  # (4,) far kernel values and their number, far products and theirs
    rows: NDArray[np.float64]  # (2,) the number of rows, and their witnesses' sum

    @classmethod
    def zero(cls, widest: int) -> LagSums:
        near, products = np.zeros(widest - 1), np.zeros(widest)
        return cls(near, near.copy(), products, products.copy(), np.zeros(4), np.zeros(2))

    @classmethod
    def of(cls, flat: NDArray[np.float64], widest: int) -> LagSums:
        """What :meth:`flat` made; a ValueError if it is of another length."""
        near, near_pairs, products, pairs, far, rows = np.split(
            flat, np.cumsum([widest - 1, widest - 1, widest, widest, 4])
        )
        if rows.size != 2:
            raise ValueError(f"{flat.size} sums for a window of {widest}")
        return cls(near, near_pairs, products, pairs, far, rows)

    def flat(self) -> NDArray[np.float64]:
        return np.concatenate(
            [self.near, self.near_pairs, self.products, self.product_pairs, self.far, self.rows]
        )

    def __add__(self, other: LagSums) -> LagSums:
        return LagSums.of(self.flat() + other.flat(), self.products.size)


@dataclass(frozen=True, slots=True)
class Factors:
    """What dependence does to each of k windows, by D of docs/statistics.md."""

    mean: NDArray[np.float64]  # (k,) at least 1: of the windows' own variance
    spread: NDArray[np.float64]  # (k,) at least 1: of the statistic's standard deviation
    variance: float  # 1 less the mean kernel value of independent rows of the stream
    significant: bool
    constant: bool = False

    @classmethod
    def none(cls, k: int, constant: bool = False) -> Factors:
        return cls(np.ones(k), np.ones(k), 1.0, False, constant)

    @classmethod
    def of(
        cls, sums: LagSums, windows: tuple[int, ...], a: float, kernel_sd: float, *, wary: bool = False
    ) -> Factors | None:
        """The factors that the sums come to; None while they are too few.

        ``a`` is the mean off-diagonal kernel value of the reference, ``kernel_sd`` the standard
        deviation of its centred kernel values. A ``wary`` look, at few rows, allows for no more than
        likeness that fades as it does from a row to its neighbours: see :func:`fading`.
        """
        known = sums.near_pairs > 0
        lags = int(known.sum())
        enough = sums.far[1] >= _FEWEST_FAR
        if not enough and lags < _FEWEST_LAGS:
            return None
        near = np.divide(sums.near, sums.near_pairs, out=np.zeros_like(sums.near), where=known)
        products = sums.products / np.maximum(sums.product_pairs, 1.0)
        late = slice(lags // 2, lags)
        if enough:
            base, base_pairs = sums.far[0] / sums.far[1], float(sums.far[1])
            product_base = sums.far[2] / sums.far[3]
        else:
            base_pairs = float(sums.near_pairs[late].sum())
            base = sums.near[late].sum() / base_pairs
            product_base = sums.products[1:][late].sum() / sums.product_pairs[1:][late].sum()
        variance = 1.0 - (base + 2.0 * sums.rows[1] / sums.rows[0] - a)
        product_variance = products[0] - product_base
        if variance < _CONSTANT or product_variance <= _CONSTANT * max(products[0], 1e-300):
            return cls.none(len(windows), constant=True)
        first = slice(0, 3)
        pairs = float(sums.near_pairs[first].sum())
        excess = float(sums.near[first].sum()) / pairs - base
        error = kernel_sd * np.sqrt(1.0 / pairs + 1.0 / base_pairs)
        rho1 = positive_sequence((near[:lags] - base) / variance)
        rho2 = positive_sequence((products[1 : lags + 1] - product_base) / product_variance)
        most = [fading(rho) if wary else np.inf for rho in (rho1, rho2)]
        return cls(
            np.array([min(inflation(rho1, w), most[0]) for w in windows]),
            np.array([min(inflation(rho2, w), most[1]) for w in windows]),
            float(variance),
            bool(excess > _SIGNIFICANT * error),
        )


def positive_sequence(rho: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) autocorrelations from lag 1 on, up to the first pair of neighbours whose sum is not positive.

    [The initial positive sequence: Geyer, *Practical Markov chain Monte Carlo*, 1992.]
    """
    pairs = rho[: rho.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0.0)
    return rho[: 2 * int(ends[0])] if ends.size else rho


def inflation(rho: NDArray[np.float64], window: int) -> float:
    """By what factor autocorrelation raises the variance of the mean of ``window`` rows; at least 1."""
    lags = np.arange(1, min(rho.size, window - 1) + 1)
    return max(1.0, 1.0 + 2.0 * float(((1.0 - lags / window) * rho[: lags.size]).sum()))


def fading(rho: NDArray[np.float64]) -> float:
    """Twice the inflation by autocorrelation that is what it is for neighbours, and fades geometrically.

    Rows before and after one change look as if they depended on each other weakly, but over the whole
    of a short stretch; those of a dependent stream do so strongly at first.
    """
    near = float(rho[:2].max(initial=0.0))
    return np.inf if near > _LIKEST else 1.0 + _SLACK * 2.0 * near / (1.0 - near)


def lag_sums(kernel: NDArray[np.float64], past: int, known: int, reach: int) -> NDArray[np.float64]:
    """(reach,) sums of the kernel values of new rows with those 1 to ``reach`` before them.

    ``kernel`` is (b, past + b), between new rows and all; of the past ones the last ``known`` count.
    """
    b = kernel.shape[0]
    have = min(known, past, reach)
    part = kernel[:, past - have :]
    if have < reach:
        part = np.concatenate([np.zeros((b, reach - have)), part], axis=1)
    row, column = part.strides
    diagonals = as_strided(
        part[:, reach - 1 :], shape=(b, reach), strides=(row + column, -column), writeable=False
    )
    return np.asarray(diagonals.sum(axis=0))


class FarPairs:
    """Kernel values of rows four to five windows apart: of one row in so many, on the host."""

    def __init__(self, widest: int, n_features: int) -> None:
        self.every = max(1, widest // 4)
        self._near, self._far = (factor * widest for factor in APART)
        size = -(-(self._far + BLOCK) // self.every) + 1
        self.rows = np.zeros((size, n_features), dtype=np.float32)
        self.about = np.full((size, 3), -np.inf)  # position in the stream, squared norm, witness

    def push(self, rows: NDArray[np.float32], about: NDArray[np.float64], a: float) -> tuple[float, int]:
        """Take at most ``BLOCK`` (b, d) scaled rows with their (b, 3) ``about``; sum and number of pairs.

        Like ``LagSums.near``: of kernel values, less both witnesses; ``a`` is the reference's mean.
        """
        # Held at once: where windows are short, there are far pairs among the new rows.
        self._hold(rows, about)
        place, norm, witness = about.T[:, :, None]
        age = place - self.about[:, 0]
        pairs = (age >= self._near) & (age < self._far)
        number = int(np.count_nonzero(pairs))
        total = 0.0
        if number:
            old = np.flatnonzero(pairs.any(axis=0))
            _, old_norm, old_witness = self.about[old].T
            new, held = rows, self.rows[old]
            if norm.max() > FAR:  # float32 products would cancel
                new, held = new.astype(np.float64), held.astype(np.float64)
            exponent = 2.0 * (new @ held.T).astype(np.float64) - norm - old_norm
            values = np.exp(np.minimum(exponent, 0.0)) + (a - witness - old_witness)
            total = float(values[pairs[:, old]].sum())
        return total, number

    def restore(self, rows: NDArray[np.float32], about: NDArray[np.float64]) -> None:
        """Go on with rows that were held; a ValueError if they are no such."""
        if rows.shape != (about.shape[0], self.rows.shape[1]):
            raise ValueError(f"rows of shape {rows.shape}")
        self._hold(rows, about)

    def _hold(self, rows: NDArray[np.float32], about: NDArray[np.float64]) -> None:
        to = about[:, 0].astype(np.int64) // self.every % self.rows.shape[0]
        self.rows[to] = rows
        self.about[to] = about


def series_sums(
    series: NDArray[np.float64], witness: NDArray[np.float64], before: int, widest: int, a: float
) -> LagSums:
    """What a segment's (n, q) projections and (n,) witnesses come to; ``before`` of the n precede it.

    Of ``near``, only what the witnesses take off.
    """
    n = witness.size - before
    lags = np.arange(widest)
    pairs = n - np.maximum(0, lags - before).astype(np.float64)
    pairs = np.maximum(pairs, 0.0)
    # Products at all lags at once, by Fourier transforms, long enough not to wrap around at these lags.
    recent = series[max(0, before - widest + 1) :]
    new = recent.copy()
    new[: recent.shape[0] - n] = 0.0
    size = 1 << (recent.shape[0] + widest - 1).bit_length()
    spectrum = np.fft.rfft(new.T, size) * np.conj(np.fft.rfft(recent.T, size))
    some = min(widest, before + n)  # lags that there are
    products = np.zeros(widest)
    products[:some] = np.fft.irfft(spectrum.sum(axis=0), size)[:some]
    # Far ones, by cumulated sums.
    sums = np.zeros((series.shape[0] + 1, series.shape[1]))
    np.cumsum(series, axis=0, out=sums[1:])
    at = np.arange(before, before + n)
    ends, starts = np.maximum(at - APART[0] * widest + 1, 0), np.maximum(at - APART[1] * widest + 1, 0)
    far = float(np.einsum("nq,nq->", series[before:], sums[ends] - sums[starts]))
    # The witnesses of pairs, at each lag.
    cumulated = np.zeros(witness.size + 1)
    np.cumsum(witness, out=cumulated[1:])
    first = np.minimum(np.maximum(before, lags[1:]), witness.size)
    later = cumulated[-1] - cumulated[first]
    earlier = cumulated[np.maximum(witness.size - lags[1:], 0)] - cumulated[first - lags[1:].clip(max=first)]
    return LagSums(
        near=pairs[1:] * a - later - earlier,
        near_pairs=pairs[1:],
        products=products,
        product_pairs=pairs,
        far=np.array([0.0, 0.0, far, float((ends - starts).sum())]),
        rows=np.array([float(n), float(cumulated[-1] - cumulated[before])]),
    )


def block_sums(
    z: NDArray[np.float32],
    witness: NDArray[np.float64],
    series: NDArray[np.float64],
    block: int,
    widest: int,
    a: float,
) -> LagSums:
    """Those of a reference of blocks of rows that stood together, relative to rows of any two blocks.

    ``z`` is (N, d) scaled, ``witness`` (N,) and ``series`` (N, q), both without each row's own share.
    """
    total = LagSums.zero(widest)
    for start in range(0, z.shape[0], block):
        part = slice(start, start + block)
        sums = series_sums(series[part], witness[part], 0, widest, a)
        near = lag_sums(np.exp(-squared_distances(z[part], z[part])), 0, 0, widest - 1)
        total = total + replace(sums, near=sums.near + near)
    pairs = float(z.shape[0]) ** 2
    return replace(total, far=np.array([0.0, pairs, 0.0, pairs]))

"""The upper tail of a sample: counted where there is enough of it, generalised Pareto beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TAIL_SHARE = 0.1
_ENOUGH = 100
# 1 % point of the Kolmogorov-Smirnov statistic times sqrt(n), scale and shape estimated
# [Choulakian and Stephens, Technometrics 43 (2001), for shapes near 0, by simulation].
_KS_CRITICAL = 1.1
_KS_HARMLESS = 0.02  # a deviation this small is significant in a large sample, and of no importance


@dataclass(frozen=True, slots=True)
class Tail:
    """Survival function and quantiles of a sample beyond its 90 % point."""

    sample: NDArray[np.float64]  # (n,) sorted
    start: float  # where the fitted tail begins
    share: float  # its probability
    shape: float  # of the generalised Pareto distribution: > 0 is heavy, < 0 bounded
    scale: float
    fit_distance: float  # Kolmogorov-Smirnov distance between the sample's tail and the fit

    @classmethod
    def fit(cls, values: NDArray[np.float64]) -> Tail:
        """Fit the top tenth, at least 10, of (n,) values; n >= 20."""
        sample = np.sort(values)
        start = float(sample[sample.size - max(10, int(sample.size * _TAIL_SHARE)) - 1])
        excess = sample[np.searchsorted(sample, start, side="right") :] - start
        shape, scale = fit_generalised_pareto(excess)
        model = -np.expm1(log_survival(excess, shape, scale))
        steps = np.arange(excess.size + 1) / max(1, excess.size)
        distance = float(np.maximum(steps[1:] - model, model - steps[:-1]).max(initial=0.0))
        return cls(sample, start, excess.size / sample.size, shape, scale, distance)

    @property
    def exceedances(self) -> int:
        """Values in the fitted tail."""
        return round(self.share * self.sample.size)

    @property
    def fits(self) -> bool:
        """Whether the fit passes its goodness-of-fit test, at 1 %, or is off by less than 2 %."""
        return bool(self.fit_distance <= max(_KS_HARMLESS, _KS_CRITICAL / np.sqrt(max(1, self.exceedances))))

    def quantile(self, survival: float) -> float:
        """The value exceeded with probability ``survival``, 0 to 1.

        Inside the tail the fit smooths the sample's noise; a fit that fails its test is only used
        where the sample has fewer than 100 values left.
        """
        counted = survival * self.sample.size >= _ENOUGH
        if survival >= self.share or (counted and not self.fits):
            return float(np.quantile(self.sample, 1.0 - survival))
        if abs(self.shape) < 1e-9:
            return self.start + self.scale * float(np.log(self.share / survival))
        growth = float(np.expm1(self.shape * np.log(self.share / survival)))
        return self.start + self.scale / self.shape * growth

    def log_error(self, survival: float) -> float:
        """Standard deviation of the logarithm of the true probability of exceeding ``quantile(survival)``.

        That of a count where one is used, else that of the fitted shape and scale too, by their asymptotic
        variance as maximum-likelihood estimates.
        """
        count = max(1.0, survival * self.sample.size)
        if survival >= self.share or (count >= _ENOUGH and not self.fits):
            return float(np.sqrt((1.0 - survival) / count))
        distance, k = float(np.log(self.share / survival)), max(1, self.exceedances)
        # Derivatives of the log-survival at the quantile, by shape and by log scale.
        if abs(self.shape) < 1e-4:
            by_shape, by_scale = distance**2 / 2.0, distance
        else:
            by_scale = -float(np.expm1(-self.shape * distance)) / self.shape
            by_shape = (distance - by_scale) / self.shape
        g = 1.0 + max(self.shape, -0.45)  # the variance is finite from -0.5
        fitted = (g * by_shape) ** 2 - 2.0 * g * by_shape * by_scale + 2.0 * g * by_scale**2
        return float(np.sqrt((1.0 - self.share + fitted) / k))

    def log_survival(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Natural logarithm of the probability of exceeding each of (m,) values."""
        above = self.sample.size - np.searchsorted(self.sample, values, side="right")
        counted = np.log((above + 0.5) / (self.sample.size + 0.5))
        beyond = values > self.start
        fitted = np.full(values.shape, np.log(max(self.share, 1e-12)))
        fitted[beyond] += log_survival(values[beyond] - self.start, self.shape, self.scale)
        return np.where(beyond & (self.fits | (above < _ENOUGH)), fitted, counted)


def log_survival(excess: NDArray[np.float64], shape: float, scale: float) -> NDArray[np.float64]:
    """Log-probability that a generalised Pareto variable exceeds (m,) values >= 0; -700 for none."""
    if abs(shape) < 1e-9:
        return np.asarray(-excess / scale)
    inside = np.maximum(1.0 + shape * excess / scale, 1e-300)
    return np.asarray(np.maximum(-np.log(inside) / shape, -700.0))


def fit_generalised_pareto(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution for (n,) sorted values > 0.

    The quasi-Bayesian estimate of Zhang and Stephens, Technometrics 51 (2009): as good as maximum
    likelihood, with no iteration that could fail.
    """
    n = excess.size
    if n == 0:
        return 0.0, float(np.finfo(np.float64).tiny)
    largest = float(excess[-1])
    x = excess / largest
    size = 20 + int(np.sqrt(n))
    quartile = max(float(x[max(0, int(n / 4 + 0.5) - 1)]), 1e-6)
    j = np.arange(1, size + 1)
    theta = 1.0 + (1.0 - np.sqrt(size / (j - 0.5))) / (3.0 * quartile)
    theta = np.where(np.abs(theta) < 1e-12, 1e-12, theta)
    k = np.array([-np.log1p(-np.minimum(t * x, 1.0 - 1e-12)).mean() for t in theta])
    likelihood = n * (np.log(theta / k) + k - 1.0)
    weight = np.exp(likelihood - likelihood.max())
    best = float((weight * theta).sum() / weight.sum())
    shape = float(np.log1p(-np.minimum(best * x, 1.0 - 1e-12)).mean())
    return shape, -shape / best * largest

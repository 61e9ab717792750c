"""Distances and tests between two samples, from counts in frozen bins or from the values: pure functions.

Bins are frozen with the reference, because PSI depends on them. All p-values are for the null that both
samples come from one distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from assay.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Counts: TypeAlias = NDArray[np.float64]


def quantile_edges(values: Array, bins: int) -> Array:
    """Return at most ``bins - 1`` inner edges at the quantiles of finite values; fewer where values repeat."""
    import numpy as np

    finite = values[np.isfinite(values)]
    if bins < 2 or not len(finite):
        return np.empty(0)
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    inner: Array = edges[edges < finite.max()]
    return inner


def histogram(values: Array, edges: Array) -> Counts:
    """Return counts (len(edges) + 1,) of the finite values in (-inf, e0], (e0, e1], ..., (e_last, inf)."""
    import numpy as np

    finite = values[~np.isnan(values)]
    return np.bincount(np.searchsorted(edges, finite, side="left"), minlength=len(edges) + 1).astype(np.float64)


def psi(reference: Counts, observed: Counts, *, pseudo: float = 0.5) -> float:
    """Return the population stability index of counts in the same bins; ``pseudo`` is added to every count.

    0 is no change; by custom above 0.1 is some and above 0.25 much. Biased upwards by about
    (bins - 1)(1/n + 1/m). Raises DataError on other shapes or an empty sample.
    """
    import numpy as np

    a, b = _pair(reference, observed)
    p = (a + pseudo) / (a + pseudo).sum()
    q = (b + pseudo) / (b + pseudo).sum()
    return float(((q - p) * np.log(q / p)).sum())


def psi_interval(
    reference: Counts, observed: Counts, rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 400
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of PSI over the observed counts (Efron 1979), widened to hold PSI."""
    import numpy as np

    a, b = _pair(reference, observed)
    draws = rng.multinomial(int(b.sum()), b / b.sum(), size=resamples)
    values = [psi(a, draw.astype(np.float64)) for draw in draws]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    point = psi(a, b)
    return min(float(low), point), max(float(high), point)


def ks_counts(reference: Counts, observed: Counts) -> tuple[float, float]:
    """Return the two-sample KS distance at the bin edges, and its p-value. The distance is at most the exact one."""
    import numpy as np

    a, b = _pair(reference, observed)
    distance = float(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum()).max())
    return distance, kolmogorov_p(distance, a.sum(), b.sum())


def ks_exact(reference: Array, observed: Array) -> tuple[float, float]:
    """Return the exact two-sample KS distance of the values, NaN left out, and its asymptotic p-value."""
    import numpy as np

    a, b = np.sort(reference[~np.isnan(reference)]), np.sort(observed[~np.isnan(observed)])
    if not len(a) or not len(b):
        raise DataError("a sample is empty")
    both = np.concatenate([a, b])
    gaps = np.searchsorted(a, both, side="right") / len(a) - np.searchsorted(b, both, side="right") / len(b)
    distance = float(np.abs(gaps).max())
    return distance, kolmogorov_p(distance, len(a), len(b))


def kolmogorov_p(distance: float, n: float, m: float) -> float:
    """Return the asymptotic p-value of a KS distance, with Stephens' (1970) correction for small samples."""
    root = math.sqrt(n * m / (n + m))
    t = (root + 0.12 + 0.11 / root) * distance
    if t < 0.2:
        return 1.0
    total = 2.0 * sum((-1.0) ** (j - 1) * math.exp(-2.0 * (j * t) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, total))


def chi_square(reference: Counts, observed: Counts, *, least: float = 5.0) -> tuple[float, int, float]:
    """Return Pearson's statistic of homogeneity of two samples, its degrees of freedom and its p-value.

    Cells whose expected count is below ``least`` in either sample are pooled (Cochran 1954).
    """
    import numpy as np

    a, b = _pair(reference, observed)
    share = (a + b) / (a + b).sum()
    rare = share * min(a.sum(), b.sum()) < least
    if rare.any():
        a = np.append(a[~rare], a[rare].sum())
        b = np.append(b[~rare], b[rare].sum())
    keep = (a + b) > 0
    a, b = a[keep], b[keep]
    share = (a + b) / (a + b).sum()
    statistic = sum(float(((s - s.sum() * share) ** 2 / (s.sum() * share)).sum()) for s in (a, b))
    freedom = len(a) - 1
    return statistic, freedom, chi_square_p(statistic, freedom)


def chi_square_p(statistic: float, freedom: int) -> float:
    """Return P(X >= statistic) of a chi-square variable, by its finite sum (Abramowitz and Stegun 26.4.4-5)."""
    if freedom < 1 or statistic <= 0:
        return 1.0
    half = statistic / 2.0
    if freedom % 2:
        total, log_term, start = math.erfc(math.sqrt(half)), -half + 0.5 * math.log(half) - math.lgamma(1.5), 1.5
    else:
        total, log_term, start = 0.0, -half, 1.0
    for i in range(freedom // 2):
        total += math.exp(log_term)
        log_term += math.log(half) - math.log(start + i)
    return min(1.0, total)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the family of tests (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _pair(reference: Counts, observed: Counts) -> tuple[Counts, Counts]:
    if reference.shape != observed.shape or not reference.sum() > 0 or not observed.sum() > 0:
        raise DataError("two samples of counts in the same bins are needed, neither of them empty")
    return reference, observed

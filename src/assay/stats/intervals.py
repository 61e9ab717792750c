"""Confidence intervals of shares, of areas under ROC curves, and of any statistic by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from assay.core.clock import stream
from assay.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, k successes in n trials; (0, 1) when n is 0.

    Clopper & Pearson 1934: coverage is never below ``confidence``. Raises DataError unless 0 <= k <= n.
    """
    from scipy.special import betaincinv

    _check_counts(k, n)
    if n == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1.0 - tail))
    return low, high


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share; shorter than the exact one, coverage only close to ``confidence``.

    Wilson 1927. Raises DataError unless 0 <= k <= n.
    """
    from scipy.special import ndtri

    _check_counts(k, n)
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri(0.5 + confidence / 2.0))
    share, z2 = k / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    low = 0.0 if k == 0 else max(0.0, middle - half)
    high = 1.0 if k == n else min(1.0, middle + half)
    return min(low, share), max(high, share)


def bootstrap(
    statistic: Callable[..., float],
    *arrays: NDArray[np.generic],
    draws: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of ``statistic(*arrays)`` when rows are drawn again with replacement.

    arrays: of equal length n, drawn by the same rows. Draws on which the statistic is not finite are left
    out; DataError when fewer than half are left. Efron 1979.
    """
    import numpy as np

    n = len(arrays[0])
    if n == 0 or any(len(a) != n for a in arrays):
        raise DataError("the bootstrap needs arrays of one length, 1 or more")
    rng = stream(seed, "bootstrap")
    values = np.array([statistic(*(a[rows] for a in arrays)) for rows in rng.integers(0, n, (draws, n))])
    values = values[np.isfinite(values)]
    if len(values) < draws / 2:
        raise DataError("the statistic is undefined on most draws", remedy="Give more rows of every class")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def auc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Return the chance that a positive scores above a negative, ties counting half (Mann & Whitney 1947)."""
    return float(_placements(positive, negative)[0].mean())


def auc_interval(
    positive: NDArray[np.floating], negative: NDArray[np.floating], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return (AUC, low, high) of scores of positives (m,) and negatives (n,), by DeLong's variance on the logit scale.

    DeLong, DeLong & Clarke-Pearson 1988. At 0 or 1, where that variance vanishes, the end is that of
    Clopper-Pearson on the smaller class. Raises DataError without both classes.
    """
    import numpy as np
    from scipy.special import expit, logit, ndtri

    above, below = _placements(positive, negative)
    m, n = len(above), len(below)
    area = float(above.mean())
    if not 0.0 < area < 1.0 or min(m, n) < 2:
        low, high = clopper_pearson(round(area * min(m, n)), min(m, n), confidence)
        return area, min(low, area), max(high, area)
    deviation = float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    reach = float(ndtri(0.5 + confidence / 2.0)) * deviation / (area * (1.0 - area))
    middle = float(logit(area))
    return area, float(expit(middle - reach)), float(expit(middle + reach))


def _placements(
    positive: NDArray[np.floating], negative: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for each positive, the share of negatives below it, and for each negative, of positives above it."""
    import numpy as np

    if len(positive) == 0 or len(negative) == 0:
        raise DataError("an AUC needs rows of both classes", remedy="Give a test set that has both")
    low, high = np.sort(positive), np.sort(negative)
    above = (np.searchsorted(high, positive, "left") + np.searchsorted(high, positive, "right")) / (2.0 * len(high))
    below = 1.0 - (np.searchsorted(low, negative, "left") + np.searchsorted(low, negative, "right")) / (2.0 * len(low))
    return above, below


def _check_counts(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise DataError(f"{k} successes in {n} trials is impossible")

"""What one run of a private training can prove about its epsilon from below, and tests of its random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

_SHARES = (0.05, 0.125, 0.25, 0.5, 1.0)
_LARGEST = 60.0


def one_run_p_value(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """Return a bound of the chance of ``correct`` or more right guesses if the run is (epsilon, delta)-private.

    Each of ``canaries`` rows was in or out by a fair coin; ``guesses`` of these coins were guessed, the others passed
    over. Steinke, Nasr & Jagielski 2023, Theorem 5.2. Raises DataError unless correct <= guesses <= canaries.
    """
    from scipy.stats import binom

    if not 0 <= correct <= guesses <= canaries:
        raise DataError(f"{correct} of {guesses} guesses on {canaries} canaries is impossible")
    chance = 1 / (1 + np.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, chance))
    if not correct or not delta:
        return min(1.0, tail)
    nearest = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, chance))
    slope = float((nearest / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * canaries * delta * slope)


def one_run_lower(correct: int, guesses: int, canaries: int, delta: float, confidence: float = 0.95) -> float:
    """Return the largest epsilon that the guesses refute: at this confidence the run is not more private. 0.0: none."""
    if one_run_p_value(correct, guesses, canaries, 0.0, delta) > 1 - confidence:
        return 0.0
    low, high = 0.0, _LARGEST
    for _ in range(60):
        middle = (low + high) / 2
        refuted = one_run_p_value(correct, guesses, canaries, middle, delta) <= 1 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def lower_of_scores(
    scores: Array, included: NDArray[np.bool_], delta: float, confidence: float = 0.95
) -> tuple[float, int, int]:
    """Return (epsilon from below, guesses, correct ones) of membership scores (m,), higher meaning in.

    The highest and as many lowest scores are guessed; five numbers of guesses are tried, each at a fifth of the error.
    """
    m = len(scores)
    if m < 2 or m != len(included):
        raise DataError("an audit needs as many scores as coins, 2 or more")
    order = np.argsort(scores, kind="stable")
    best = (0.0, 0, 0)
    for share in _SHARES:
        half = max(1, int(share * m / 2))
        correct = int(included[order[m - half :]].sum()) + int((~included[order[:half]]).sum())
        found = one_run_lower(correct, 2 * half, m, delta, 1 - (1 - confidence) / len(_SHARES))
        if found > best[0] or not best[1]:
            best = (found, 2 * half, correct)
    return best


def chi_square_p(value: float, degrees: int) -> float:
    """Return the two-sided p-value of a sum of ``degrees`` squared standard normals."""
    from scipy.stats import chi2

    return float(min(1.0, 2 * min(chi2.cdf(value, degrees), chi2.sf(value, degrees))))


def normal_p(z: float) -> float:
    """Return the two-sided p-value of a standard normal number."""
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(z)))


def binomial_p(count: int, trials: int, rate: float) -> float:
    """Return a two-sided p-value of ``count`` heads in ``trials`` coins of ``rate``."""
    from scipy.stats import binom

    if rate == 1:
        return float(count == trials)
    return float(min(1.0, 2 * min(binom.cdf(count, trials, rate), binom.sf(count - 1, trials, rate))))

"""Statistics of pairs: two answers to the same rows, and one value among others that are like it by hypothesis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from assay.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALVINGS = 60


def paired_difference(gained: int, lost: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a difference of two shares on the same n rows.

    gained, lost: rows that count for the second share only, and for the first only. Unlike the usual formula it has
    a width where no row differs. Tango 1998. Raises DataError unless 0 <= gained + lost <= n and n >= 1.
    """
    from scipy.special import ndtri

    if min(gained, lost) < 0 or gained + lost > n or n < 1:
        raise DataError(f"{gained} gained and {lost} lost of {n} pairs is impossible")
    z = float(ndtri(0.5 + confidence / 2.0))
    middle = (gained - lost) / n
    high = _cross(gained, lost, n, -z, middle, 1.0)
    low = -_cross(lost, gained, n, -z, -middle, 1.0)
    return min(low, middle), max(high, middle)


def _cross(gained: int, lost: int, n: int, level: float, low: float, high: float) -> float:
    """Return the difference at which the score falls to ``level``; it falls as the difference grows."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _score(gained, lost, n, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _score(gained: int, lost: int, n: int, difference: float) -> float:
    """Return how many deviations the seen difference lies above the supposed one (Tango 1998, section 3)."""
    a = 2.0 * n
    b = -gained - lost + (2.0 * n - gained + lost) * difference
    c = -lost * difference * (1.0 - difference)
    share = (max(b * b - 4.0 * a * c, 0.0) ** 0.5 - b) / (2.0 * a)
    spread = (n * max(2.0 * share + difference * (1.0 - difference), 0.0)) ** 0.5
    gap = gained - lost - n * difference
    if spread == 0.0:
        return 0.0 if gap == 0.0 else math.copysign(math.inf, gap)
    return float(gap / spread)


def sign_test(more: int, less: int) -> float:
    """Return the chance of ``more`` or more of ``more + less`` fair coins, 1.0 for none: McNemar's exact test, one-sided."""
    from scipy.special import betainc

    if min(more, less) < 0:
        raise DataError(f"{more} and {less} are no counts")
    return 1.0 if more == 0 else float(betainc(more, less + 1, 0.5))


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that a false alarm among all of them is as rare as each says. Holm 1979."""
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    adjusted, worst = [0.0] * len(chances), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(chances) - rank) * chances[i]))
        adjusted[i] = worst
    return adjusted


def rank_test(own: float, others: Sequence[float]) -> float:
    """Return the exact chance that a value as high as ``own`` is drawn first of values of one kind.

    (1 + others as high) / (1 + others): exact when all orders of the values are equally likely, never below
    1 / (1 + others). Phipson & Smyth 2010.
    """
    return (1 + sum(other >= own for other in others)) / (1 + len(others))

"""The scale on which membership attacks compare answers: the log-odds of the true class, with a floor that fits the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LOWEST, _HIGHEST = 1e-6, 0.02


def floor(shares: Array) -> float:
    """Return half the smallest step by which probabilities differ from 0 and 1, within [1e-6, 0.02].

    A forest of t trees never answers between 0 and 1/t: without such a floor its certain rows would lie infinitely
    far from all others.
    """
    gaps = np.minimum(shares, 1.0 - shares)
    gaps = gaps[gaps > 1e-12]
    return float(np.clip(gaps.min() / 2.0, _LOWEST, _HIGHEST)) if gaps.size else _HIGHEST


def log_odds(shares: Array, least: float) -> Array:
    """Return log(p / (1 - p)) of probabilities, with both ends moved inwards by ``least``."""
    inner = np.clip(shares, least, 1.0 - least)
    odds: Array = np.log(inner) - np.log1p(-inner)
    return odds


def moments(values: Array, where: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Return count, mean and sum of squared deviations (n,) of the values (k, n) that ``where`` (k, n) selects."""
    count = where.sum(axis=0).astype(np.float64)
    mean = (values * where).sum(axis=0) / np.maximum(count, 1.0)
    squares = (((values - mean) ** 2) * where).sum(axis=0)
    return count, mean, squares

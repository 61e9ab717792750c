"""Tests of a share that may be looked at after every trial, and stopped whenever one likes.

A fixed-sample interval loses its confidence when it is looked at repeatedly. The evidence here does not: it is the
wealth of a gambler who bets against the hypothesis with a fair coin's odds, and such wealth exceeds 1/alpha at any
time with chance alpha at most (Ville 1939; Waudby-Smith & Ramdas 2024 give the same for bounded means).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The bets are spread over shares above the one tested as a Beta law that leans towards 1, where large radii lie.
_A, _B = 1.0, 0.5


def log_wealth(k: int, n: int, shares: Array) -> Array:
    """Return the log of the evidence that the true share exceeds each of ``shares`` (m,), from k successes in n trials.

    For each share p0 in [0, 1) this is the likelihood ratio of p0 against a Beta(1, 1/2) law cut to (p0, 1). Under any true
    share up to p0 each factor of the ratio has mean 1 at most, so it is a non-negative supermartingale: its chance of
    ever reaching 1/alpha is alpha at most (Robbins 1970). Raises DataError unless 0 <= k <= n and shares lie in [0, 1).
    """
    import numpy as np
    from scipy.special import betaln, xlog1py, xlogy

    p0 = np.asarray(shares, dtype=np.float64)
    if not 0 <= k <= n or not ((p0 >= 0) & (p0 < 1)).all():
        raise DataError(f"{k} successes in {n} trials cannot be tested against such shares")
    bets = betaln(_A + k, _B + n - k) + _log_tail(_A + k, _B + n - k, p0)
    prior = betaln(_A, _B) + _log_tail(_A, _B, p0)
    chance = xlogy(k, p0) + xlog1py(n - k, -p0)
    wealth: Array = np.where(np.isneginf(chance), np.inf, bets - prior - np.where(np.isneginf(chance), 0.0, chance))
    return wealth


def proved(k: int, n: int, shares: Array, alpha: float) -> NDArray[np.bool_]:
    """Return which of the rising ``shares`` (m,) the true share is shown to exceed, at error ``alpha`` for all together.

    They are tested in order and the first that does not hold ends it, so that no correction for m is needed.
    """
    import numpy as np

    held = log_wealth(k, n, shares) >= -np.log(alpha)
    chain: NDArray[np.bool_] = np.logical_and.accumulate(held)
    return chain


def within_reach(k: int, n: int, most: int, share: float, alpha: float, *, giving_up: float = 0.05) -> bool:
    """Return whether going on to ``most`` trials may still show that the true share exceeds ``share``.

    False when even the highest true share that the trials so far leave open, at level ``giving_up``, would not be
    expected to. Stopping on it costs power, never validity.
    """
    import numpy as np

    from assay.stats.intervals import clopper_pearson

    if most <= n:
        return False
    _, high = clopper_pearson(k, n, 1.0 - 2.0 * giving_up)
    hoped = min(most, k + int(np.ceil(high * (most - n))))
    return bool(log_wealth(hoped, most, np.array([share]))[0] >= -np.log(alpha))


def _log_tail(a: float, b: float, p0: Array) -> Array:
    """Return log P(B > p0) of a Beta(a, b) law, rounded down where it is too small for its digits."""
    import numpy as np
    from scipy.special import betaincc

    with np.errstate(divide="ignore"):
        tail: Array = np.log(betaincc(a, b, p0))
    return tail

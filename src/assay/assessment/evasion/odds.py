"""What score-based attacks make small: how far an answer is from success, on a scale that does not saturate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import Oracle

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_LEAST = 1e-300


def log_margins(oracle: Oracle, rows: Array, owner: Index) -> Array:
    """Return the log odds of rows (m, d) against success, (m,): below 0 is success; the closest success is kept.

    The true class over the likeliest other, or with targets the likeliest other over the target. A network that is
    sure answers 1.0 for many rows; the small shares of the other classes still tell them apart.
    """
    if not len(rows):
        return np.zeros(0)
    answers = np.log(np.maximum(oracle.scores(rows, owner), _LEAST))
    place = np.arange(len(rows))
    chosen = oracle.y[owner] if oracle.targets is None else oracle.targets[owner]
    mine = answers[place, chosen]
    answers[place, chosen] = -np.inf
    margin: Array = mine - answers.max(axis=1)
    return margin if oracle.targets is None else -margin


def log_margins_around(oracle: Oracle, rows: Array, live: Index) -> Array:
    """Return ``log_margins`` of m rows for each of k samples: rows (k, m, d), result (k, m)."""
    k, m, d = rows.shape
    return log_margins(oracle, rows.reshape(k * m, d), np.repeat(live, m)).reshape(k, m)

"""Lines between a sample and rows of another label: where decision-based attacks set out, and how they come back.

All samples at once; several points of a line are asked in one call, since a call costs more than its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.refine import refine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import Oracle

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_POOL = 200
_COARSE = 1.0 / 64.0
# Points of a line asked at once: seven for three halvings.
_WAYS = 7
_CUTS = np.arange(1, _WAYS + 1) / (_WAYS + 1)


def start(oracle: Oracle, live: Index, first: Index, generator: np.random.Generator, tries: int) -> None:
    """Find a wrong row for each sample: from the nearest of another label that is known, else from random feasible rows."""
    pool, labels = known(oracle, first, generator)
    near = nearest_others(oracle, live, pool, labels)
    for place in range(near.shape[1]):
        able = np.flatnonzero((near[:, place] >= 0) & (oracle.left[live] > 0))
        rows = oracle.region.project(pool[near[able, place]], oracle.x0[live[able]])
        wrong = oracle.wrong(rows, live[able]) if len(able) else np.zeros(0, dtype=bool)
        bisect(oracle, live[able[wrong]], _COARSE, far=rows[wrong])
    asked, count = 0, 1
    while asked < tries:
        owner = live[~np.isfinite(oracle.distance[live]) & (oracle.left[live] >= count)]
        if not len(owner):
            break
        owner = np.repeat(owner, count)
        oracle.wrong(_anywhere(oracle, owner, pool, generator), owner)
        asked += count
        count = min(2 * count, max(1, tries - asked))


def _anywhere(oracle: Oracle, owner: Index, pool: Array, generator: np.random.Generator) -> Array:
    """Return a feasible row for each of ``owner`` (m,): one in three drawn from the ranges, else part of a row known."""
    x0 = oracle.x0[owner]
    rows = oracle.region.sample(x0, generator)
    part = np.flatnonzero(generator.random(len(owner)) < 2.0 / 3.0)
    other = pool[generator.integers(0, len(pool), len(part))]
    # Mostly large parts: the more is taken over of another class, the likelier the row is taken for it.
    taken = generator.random(other.shape) < np.sqrt(generator.random((len(part), 1)))
    rows[part] = oracle.region.project(np.where(taken, other, x0[part]), x0[part])
    return rows


def known(oracle: Oracle, first: Index, generator: np.random.Generator) -> tuple[Array, Index]:
    """Return rows that the attacker has, (m, d), and the model's labels of them, (m,), -1 where not asked.

    The rows given as starts; without any, samples under attack, at most 200, with their first labels ``first`` (n,).
    """
    if len(oracle.starts):
        return oracle.starts, np.full(len(oracle.starts), -1, dtype=np.intp)
    n = len(oracle.x0)
    chosen = np.arange(n) if n <= _POOL else generator.choice(n, _POOL, replace=False)
    return oracle.x0[chosen], first[chosen]


def nearest_others(
    oracle: Oracle, live: Index, pool: Array, labels: NDArray[np.intp], *, most: int = 3
) -> NDArray[np.intp]:
    """Return which rows of the pool (m, d) with another label are nearest, (len(live), most), -1 where there is none."""
    out = np.full((len(live), most), -1, dtype=np.intp)
    for row, sample in enumerate(live):
        others = np.flatnonzero((labels < 0) | oracle.reached(labels, np.full(len(labels), sample)))
        if len(others):
            x0 = np.broadcast_to(oracle.x0[sample], (len(others), pool.shape[1]))
            chosen = others[np.argsort(oracle.region.distance(pool[others], x0), kind="stable")[:most]]
            out[row, : len(chosen)] = chosen
    return out


def bisect(oracle: Oracle, live: Index, precision: float, *, far: Array | None = None) -> None:
    """Shorten each sample's wrong row along the line to the sample, down to the given precision.

    Several points of the line are asked at once.
    """
    if not len(live):
        return
    start = oracle.x0[live]
    end = (oracle.best[live] if far is None else far).copy()
    line = np.nan_to_num(end - start)
    low, width = np.zeros(len(live)), np.ones(len(live))
    for _ in range(int(np.ceil(np.log2(1.0 / precision) / 3.0))):
        i = np.flatnonzero(oracle.left[live] >= _WAYS)
        if not len(i):
            return
        cuts = low[i, None] + width[i, None] * _CUTS
        rows = oracle.region.project_around(start[i, None, :] + cuts[:, :, None] * line[i, None, :], start[i])
        hit = oracle.wrong(rows.reshape(-1, start.shape[1]), np.repeat(live[i], _WAYS)).reshape(len(i), _WAYS)
        first = np.where(hit.any(axis=1), hit.argmax(axis=1), _WAYS)
        low[i] += width[i] * first / (_WAYS + 1)
        width[i] /= _WAYS + 1


def shorten(oracle: Oracle, live: Index, *, precision: float = 1.0 / 512.0) -> None:
    """Bring the wrong row of each sample that has one nearer: along the line to the sample, then value by value."""
    live = live[np.isfinite(oracle.distance[live]) & (oracle.distance[live] > 0)]
    bisect(oracle, live, precision)
    refine(oracle, live)

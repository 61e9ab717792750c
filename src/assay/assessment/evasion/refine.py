"""Refining a wrong row value by value: put back what need not have changed, and shorten what must.

Boundaries of trees lie along the axes, where a walk along an estimated slope leaves small changes in every value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import Oracle

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

# Points of a line asked at once: seven for three halvings, since a call costs more than its rows.
_WAYS = 7
_STEPS = 2
_TURNS = 8
_PAIR = ((0, 1), (0,), (1,))


def refine(oracle: Oracle, live: Index) -> None:
    """Shorten the best wrong row of each sample value by value, as far as its budget goes.

    First all values are put back together that can be, smallest change first, then the others one or two at a time,
    largest first; the largest changes that cannot be put back are searched for the smallest that does.
    """
    _put_back_together(oracle, live)
    _put_back_in_pairs(oracle, live)
    _shorten(oracle, live)


def _put_back_together(oracle: Oracle, live: Index) -> None:
    """Find the largest number of smallest changes that can be undone at once, by a search with several ways a step."""
    live = live[oracle.left[live] >= _WAYS]
    if not len(live):
        return
    best, x0 = oracle.best[live].copy(), oracle.x0[live]
    change = _sizes(oracle, live)
    rank = change.argsort(axis=1, kind="stable").argsort(axis=1)
    low = (change == 0).sum(axis=1)
    high = np.full(len(live), change.shape[1])
    while True:
        i = np.flatnonzero((high - low > 1) & (oracle.left[live] >= _WAYS))
        if not len(i):
            return
        cuts = _cuts(low[i], high[i])
        rows = np.where(rank[i][:, None, :] < cuts[:, :, None], x0[i][:, None, :], best[i][:, None, :])
        wrong = _ask(oracle, rows, live[i])
        low[i], high[i] = _narrowed(low[i], high[i], cuts, wrong)


def _put_back_in_pairs(oracle: Oracle, live: Index) -> None:
    """Undo changes, for each sample its largest first, two values a call: both, the first alone, the second alone."""
    if not len(live):
        return
    order = (-_sizes(oracle, live)).argsort(axis=1, kind="stable")
    changed = (_sizes(oracle, live) > 0).sum(axis=1)
    for turn in range(0, order.shape[1], 2):
        able = np.flatnonzero((changed > turn) & (oracle.left[live] >= len(_PAIR)))
        if not len(able):
            return
        owner, places = live[able], order[able, turn : turn + 2]
        rows = np.repeat(oracle.best[owner][:, None, :], len(_PAIR), axis=1)
        start = oracle.x0[owner]
        for way, chosen in enumerate(_PAIR):
            for place in (places[:, c] for c in chosen if c < places.shape[1]):
                rows[np.arange(len(able)), way, place] = start[np.arange(len(able)), place]
        _ask(oracle, rows, owner)


def _shorten(oracle: Oracle, live: Index) -> None:
    """Search the largest changes for the smallest that keep the row wrong, one value of each sample at a time."""
    if not len(live):
        return
    order = (-_sizes(oracle, live)).argsort(axis=1, kind="stable")
    for turn in range(min(_TURNS, order.shape[1])):
        place = order[:, turn]
        # On a grid there must be a place between; codes of categories have none.
        change = np.abs(np.nan_to_num(oracle.best[live, place] - oracle.x0[live, place]))
        between = (change > oracle.region.step[place]) & ~oracle.region.category[place]
        able = np.flatnonzero(between & (oracle.left[live] >= _WAYS * _STEPS))
        if not len(able):
            continue
        owner, at = live[able], place[able]
        low, width = np.zeros(len(able)), np.ones(len(able))
        near, far = oracle.x0[owner, at], oracle.best[owner, at].copy()
        for _ in range(_STEPS):
            cuts = low[:, None] + width[:, None] * np.arange(1, _WAYS + 1) / (_WAYS + 1)
            rows = np.repeat(oracle.best[owner][:, None, :], _WAYS, axis=1)
            rows[np.arange(len(able)), :, at] = near[:, None] + cuts * (far - near)[:, None]
            wrong = _ask(oracle, rows, owner)
            low += width * np.where(wrong.any(axis=1), wrong.argmax(axis=1), _WAYS) / (_WAYS + 1)
            width /= _WAYS + 1


def _sizes(oracle: Oracle, live: Index) -> Array:
    """Return how far each value has been changed, (k, d), in scaled units; 0 where it is missing."""
    change = np.abs(np.nan_to_num(oracle.best[live] - oracle.x0[live])) / oracle.region.scale
    sizes: Array = np.where(oracle.region.category & (change > 0), 1.0, change)
    return sizes


def _cuts(low: Index, high: Index) -> Index:
    """Return ``_WAYS`` whole numbers between low and high, rising, for each sample; some may repeat."""
    steps = np.arange(1, _WAYS + 1) / (_WAYS + 1)
    cuts = np.floor(low[:, None] + (high - low)[:, None] * steps).astype(np.intp)
    return np.clip(cuts, low[:, None] + 1, high[:, None] - 1)


def _narrowed(low: Index, high: Index, cuts: Index, wrong: NDArray[np.bool_]) -> tuple[Index, Index]:
    """Return the interval left: from the largest cut that is wrong, up to the next one that is not."""
    reach = np.where(wrong, cuts, low[:, None]).max(axis=1)
    beyond = np.where(~wrong & (cuts > reach[:, None]), cuts, high[:, None]).min(axis=1)
    return reach, beyond


def _ask(oracle: Oracle, rows: Array, owner: Index) -> NDArray[np.bool_]:
    """Return whether the model is wrong on each of m rows a sample, (k, m)."""
    k, m, d = rows.shape
    rows = oracle.region.project_around(rows, oracle.x0[owner])
    return oracle.wrong(rows.reshape(k * m, d), np.repeat(owner, m)).reshape(k, m)

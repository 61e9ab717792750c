"""Bringing rows back to what relations, implications and one-hot groups allow, whatever else has moved.

In order: the group's largest proposal wins; what an implication asks for is done; what moves freely is projected
alternately on each linear relation; what moves in steps makes the fewest that are needed. Columns of whatever is
still broken are drawn back to where the row started, which meets everything by definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.contract.logic import held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.logic import Rule
    from assay.contract.region import Region

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_TOLERANCE = 1e-9
_PASSES = 3
_HALVINGS = 12
_ON_PURPOSE = 20.0


def repair(region: Region, rows: Array, start: Array, proposal: Array) -> Array:
    """Return rows (n, d) that can be reached from ``start`` (n, d), near ``rows``, each value of which can be by itself.

    proposal (n, d): what was asked for before values were put on their grids, which decides between the columns
    of a one-hot group. ``rows`` is changed.
    """
    out = _choose(region, rows, start, proposal)
    todo = np.flatnonzero(~region.related(out, start))
    for _ in range(_PASSES):
        if not len(todo):
            return out
        some, begin = out[todo], start[todo]
        for rule in region.logic.rules:
            some = _follow(region, rule, some, begin)
        if len(region.bounds):
            some = region.snap(_alternate(region, some, begin), begin)
            some = _step(region, some, begin)
        out[todo] = some
        todo = todo[~region.related(some, begin)]
    if len(todo):
        out[todo] = _draw_back(region, out[todo], start[todo])
    return out


def _choose(region: Region, rows: Array, start: Array, proposal: Array) -> Array:
    """Return rows in which each broken group has its 1 where the proposal was largest among what can be reached."""
    for group in region.logic.groups:
        bad = np.flatnonzero(group.broken(rows) & ~group.broken(start))
        if not len(bad):
            continue
        here, wish = start[bad][:, group.places], np.nan_to_num(proposal[bad][:, group.places])
        up, down = region.up[group.places], region.down[group.places]
        hot = here == 1
        # The 1 can leave where its column may fall, and go where one may rise; it can always stay.
        free = (down | ~hot).all(axis=1)
        able = hot | (free[:, None] & up)
        best = np.where(able, wish + 1e-6 * ~hot, -np.inf).argmax(axis=1)
        chosen = np.zeros_like(here)
        empty = ~hot.any(axis=1) & ((wish.max(axis=1) < 0.5) | ~able.any(axis=1))
        empty |= group.optional & free & (wish.max(axis=1) < 0.5)
        filled = np.flatnonzero(~empty)
        chosen[filled, best[filled]] = 1.0
        rows[np.ix_(bad, group.places)] = chosen
    return rows


def _follow(region: Region, rule: Rule, rows: Array, start: Array) -> Array:
    """Return rows that meet an implication: its consequence is made, or else its columns go back."""
    bad = np.flatnonzero(rule.broken(rows) & ~rule.broken(start))
    if not len(bad):
        return rows
    made, begin = rows[bad], start[bad]
    for test in rule.then:
        wanted = np.where(test.holds(made), made[:, test.place], test.nearest(made[:, test.place]))
        made[:, test.place] = wanted
    made = region.snap(made, begin)
    for test in rule.then:
        # Rounding to the grid may have left the condition's interval by less than a step.
        short = np.flatnonzero(~test.holds(made))
        step = region.step[test.place]
        if len(short) and step > 0 and test.values is None:
            column = made[short, test.place]
            made[short, test.place] = column + np.where(column < test.low, step, -step)
            made[short] = region.snap(made[short], begin[short])
    kept = held(rule.then, made)
    rows[bad[kept]] = made[kept]
    lost = bad[~kept]
    if len(lost):
        places = rule.places
        rows[np.ix_(lost, places)] = start[np.ix_(lost, places)]
    return rows


def _alternate(region: Region, rows: Array, start: Array, *, rounds: int = 40) -> Array:
    """Return rows after alternating projections on each relation and the box (von Neumann) of what moves freely."""
    low, high = region.low(start), region.high(start)
    free = region.mutable & (region.step == 0)
    pull = region.weights * np.where(free, region.scale, 0.0) ** 2
    size = (pull * region.weights).sum(axis=1)
    able = np.flatnonzero(size > 0)
    out, left = rows.copy(), np.arange(len(rows))
    for _ in range(rounds if len(able) else 0):
        over = region.excess(out[left], start[left])[:, able]
        left = left[over.any(axis=1)]
        if not len(left):
            break
        for j in able:
            excess = region.excess(out[left], start[left], only=int(j))[:, 0]
            hit = left[excess != 0]
            moved = out[hit] - (excess[excess != 0] / size[j])[:, None] * pull[j]
            out[hit] = np.clip(moved, low[hit], high[hit])
    return out


def _step(region: Region, rows: Array, start: Array) -> Array:
    """Return rows after mending linear relations one at a time by moving one value each, the least that mends."""
    grouped = [g.places for g in region.logic.groups]
    fit = region.mutable & ~region.category
    if grouped:
        fit[np.concatenate(grouped)] = False
    for _ in range(2 * len(region.bounds) + 2):
        over = region.excess(rows, start)
        bad = np.flatnonzero(over.any(axis=1))
        if not len(bad):
            return rows
        worst = np.abs(over[bad]).argmax(axis=1)
        excess, weights = over[bad, worst][:, None], np.where(fit, region.weights[worst], 0.0)
        equal = region.equal[worst][:, None]
        delta = np.divide(-excess, weights, out=np.zeros_like(weights), where=weights != 0)
        count = np.divide(np.abs(delta), region.step, out=np.zeros_like(delta), where=region.step > 0)
        whole = np.where(equal, np.rint(count), np.ceil(count - _TOLERANCE))
        delta = np.where(region.step > 0, np.sign(delta) * whole * region.step, delta)
        moved = region.snap(rows[bad] + delta, start[bad])
        rest = excess + weights * (moved - rows[bad])
        rest = np.where(equal, np.abs(rest), np.maximum(rest, 0.0))
        rest = np.where((weights == 0) | np.isnan(rest), np.inf, rest)
        # First what mends all, then the shortest move, better of a value that has not been changed on purpose; else
        # what leaves least.
        price = np.abs(moved - rows[bad]) / region.scale * np.where(rows[bad] == start[bad], 1.0, _ON_PURPOSE)
        mends = rest <= _TOLERANCE * np.maximum(1.0, np.abs(excess))
        best = np.where(mends.any(axis=1), np.where(mends, price, np.inf).argmin(axis=1), rest.argmin(axis=1))
        at = np.arange(len(bad))
        rows[bad, best] = np.where(np.isfinite(rest[at, best]), moved[at, best], rows[bad, best])
    return rows


def _draw_back(region: Region, rows: Array, start: Array) -> Array:
    """Return rows whose columns of broken relations are drawn towards the start, and at last put back."""
    whole, touched = rows.copy(), np.zeros(rows.shape, dtype=bool)
    words = region.category.copy()
    for group in region.logic.groups:
        words[group.places] = True
    share = 1.0
    for turn in range(_HALVINGS + len(region.bounds) + len(region.logic.parts)):
        bad = np.flatnonzero(~region.related(rows, start))
        if not len(bad):
            return rows
        share = share / 2.0 if turn < _HALVINGS else 0.0
        touched[bad] |= region.involved(rows[bad], start[bad])
        between = start[bad] + np.where(words, 0.0, share) * np.nan_to_num(whole[bad] - start[bad])
        rows[bad] = region.snap(np.where(touched[bad], between, whole[bad]), start[bad])
    lost = ~region.related(rows, start)
    rows[lost] = start[lost]
    return rows

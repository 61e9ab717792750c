"""Beam: single changes of a table's row, the best of them together, and on from the best rows found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import known, shorten
from assay.assessment.evasion.odds import log_margins, log_margins_around
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_MOVES = np.array((-8.0, -3.0, -1.0, -0.25, 0.25, 1.0, 3.0, 8.0))
_UNIONS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_FEWEST = 32
_NEVER = 1e6
_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class Beam(
    EvasionAttack, name="beam", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Change one column to a value that others have, keep the rows of which the model is least sure, and go on from them.

    A beam search over columns and values for trees and whatever else gives scores. Values are quantiles of the rows
    that the attacker knows, ends of ranges, categories, and steps from where a row is. Changes that helped one by one
    are also tried together. What is found is brought nearer value by value.
    """

    max_queries: int = setting(2000, Within(40, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l1", OneOf(("l1", "cost", "l2", "linf", "l0")), "Distance that is made small.")
    width: int = setting(4, Within(1, None), "Rows from which the search goes on.")
    values: int = setting(8, Within(2, None), "Most values of each column that are tried, besides steps.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Search in blocks of samples that fit in memory, then bring what is found nearer."""
        pool, _ = known(oracle, first, generator)
        values, live = _values(oracle, pool, self.values, generator), oracle.unbroken(live)
        size = oracle.x0.shape[1] * max(_FEWEST, self.max_queries // 3)
        share = max(1, _BLOCK_VALUES // size)
        for i in range(0, len(live), share):
            self._block(oracle, live[i : i + share], values, generator)
        shorten(oracle, live)

    def _block(self, oracle: Oracle, live: Index, values: Array, generator: np.random.Generator) -> None:
        state = _State(oracle, live, values, self.width)
        kept_back = min(self.max_queries // 4, 40 + 2 * int(oracle.region.mutable.sum()))
        while True:
            i = np.flatnonzero(np.isinf(oracle.distance[live]) & (oracle.left[live] >= _FEWEST))
            if not len(i):
                return
            left = int(oracle.left[live[i]].min())
            # Nothing is kept back for a sample without success: shortening needs one first.
            asked = min(max(_FEWEST, left // 3), left - 2 * len(_UNIONS) if left > 2 * _FEWEST else left)
            base = state.rows[i, 0].copy()
            state.single(i, max(1, min(asked, self.max_queries - kept_back)), generator)
            # After a success, too: several small changes may do what one large one did.
            able = oracle.left[live[i]] >= 2 * len(_UNIONS)
            if able.any():
                state.together(i[able], base[able])


class _State:
    """The beams of a block of k samples. rows (k, w, d), loss (k, w), far (k, w): the best known, best first.

    gain (k, d, v): by how much each change lowered the loss when last tried; tried: ever; fresh: not yet from the
    present best row.
    """

    def __init__(self, oracle: Oracle, live: Index, values: Array, width: int) -> None:
        k, d = len(live), oracle.x0.shape[1]
        self.oracle, self.live, self.values, self.width = oracle, live, values, width
        self.rows = np.repeat(oracle.x0[live][:, None, :], width, axis=1)
        self.loss, self.far = np.full((k, width), np.inf), np.zeros((k, width))
        self.loss[:, 0] = log_margins(oracle, oracle.x0[live], live)
        total = values.shape[1] + len(_MOVES)
        able = np.concatenate([~np.isnan(values), np.ones((d, len(_MOVES)), dtype=bool)], axis=1)
        able[:, values.shape[1] :] &= ~oracle.region.category[:, None]
        able &= oracle.region.mutable[:, None]
        self.able, self.pairs = able, d * total
        self.gain = np.zeros((k, d, total))
        self.fresh = np.repeat(able[None], k, axis=0)
        self.tried = np.zeros(self.fresh.shape, dtype=bool)

    def single(self, i: Index, count: int, generator: np.random.Generator) -> None:
        """Try ``count`` single changes of each sample i (m,): those never tried, then by what they last gained.

        From its best row; where nothing is left to try from there, two changes at once from any row of the beam.
        """
        m, total = len(i), self.gain.shape[2]
        fresh, tried, gain = (a[i].reshape(m, -1) for a in (self.fresh, self.tried, self.gain))
        noise = generator.random((m, self.pairs))
        key = np.where(fresh, np.where(tried, gain, _NEVER) + 1e-9 * noise, noise - _NEVER)
        count = min(count, int(self.able.sum()))
        key = np.where(self.able.reshape(-1), key, -np.inf)
        chosen = np.argpartition(-key, count - 1, axis=1)[:, :count]
        column, which = chosen // total, chosen % total
        old = ~np.take_along_axis(fresh, chosen, axis=1)
        seat = np.where(old, generator.integers(0, self.width, (m, count)), 0)
        rows, before = self.rows[i[:, None], seat], self.loss[i, 0].copy()
        at = np.arange(m)[:, None], np.arange(count)
        rows[(*at, column)] = self._value(column, which, rows[(*at, column)])
        self._second(rows, np.nonzero(old), generator)
        loss = self._ask(i, rows)
        place = (i[:, None], column, which)
        self.gain[place] = np.where(old, self.gain[place], before[:, None] - loss)
        self.fresh[place], self.tried[place] = False, True
        # From a new best row everything may count again.
        self.fresh[i[self.loss[i, 0] < before]] = self.able

    def _second(self, rows: Array, where: tuple[Index, ...], generator: np.random.Generator) -> None:
        """Make one more change, at random, of the rows at the places ``where`` of rows (m, q, d)."""
        other = generator.choice(np.flatnonzero(self.able), len(where[0]))
        column, which = other // self.gain.shape[2], other % self.gain.shape[2]
        rows[(*where, column)] = self._value(column, which, rows[(*where, column)])

    def together(self, i: Index, base: Array) -> None:
        """Try the best changes of different columns of ``base`` (m, d) together, two of them up to all that helped.

        Once the largest gains first, once the largest for their price, so that what succeeds is also near.
        """
        region = self.oracle.region
        gain = np.where(self.able, self.gain[i], -np.inf)
        rows = []
        for worth in (gain, gain / self._price(base)):
            which = worth.argmax(axis=2)
            best = worth.max(axis=2)
            rank = np.argsort(-best, axis=1, kind="stable").argsort(axis=1, kind="stable")
            value = self._value(np.arange(region.width)[None, :], which, base)
            size = np.minimum(np.array(_UNIONS), (best > 0).sum(axis=1)[:, None])
            use = (rank[:, None, :] < size[:, :, None]) & (best > 0)[:, None, :]
            rows.append(np.where(use, value[:, None, :], base[:, None, :]))
        self._ask(i, np.concatenate(rows, axis=1))

    def _price(self, base: Array) -> Array:
        """Return how far each change goes from ``base`` (m, d), in scaled units and at least a little, (m, d, v)."""
        region = self.oracle.region
        total = self.gain.shape[2]
        made = self._value(np.arange(region.width)[None, :, None], np.arange(total)[None, None, :], base[:, :, None])
        change = np.abs(np.nan_to_num(made - base[:, :, None])) / region.scale[:, None]
        change = np.where(region.category[:, None], 1.0, change)
        return np.maximum(change * (region.cost[:, None] if self.oracle.norm == "cost" else 1.0), 0.01)

    def _value(self, column: Index, which: Index, now: Array) -> Array:
        """Return the value that a change gives a column whose value is ``now``; all arrays broadcast."""
        given = self.values.shape[1]
        region = self.oracle.region
        move = _MOVES[np.clip(which - given, 0, len(_MOVES) - 1)]
        reach = np.maximum(np.abs(move) * region.scale[column], region.step[column])
        fixed = self.values[column, np.clip(which, 0, given - 1)]
        return np.where(which < given, fixed, now + np.sign(move) * reach)

    def _ask(self, i: Index, rows: Array) -> Array:
        """Ask about rows (m, q, d) of the samples i (m,), and keep the best in their beams; return the losses (m, q)."""
        oracle, owner = self.oracle, self.live[i]
        rows = oracle.region.project_around(rows, oracle.x0[owner])
        loss = log_margins_around(oracle, rows, owner)
        m, q, d = rows.shape
        far = oracle.region.distance(rows.reshape(m * q, d), np.repeat(oracle.x0[owner], q, axis=0), oracle.norm)
        everything = np.concatenate([self.rows[i], rows], axis=1)
        losses = np.concatenate([self.loss[i], loss], axis=1)
        fars = np.concatenate([self.far[i], far.reshape(m, q)], axis=1)
        order = np.lexsort((fars, losses), axis=1)[:, : self.width]
        self.rows[i] = np.take_along_axis(everything, order[:, :, None], axis=1)
        self.loss[i], self.far[i] = (np.take_along_axis(a, order, axis=1) for a in (losses, fars))
        return loss


def _values(oracle: Oracle, pool: Array, most: int, generator: np.random.Generator) -> Array:
    """Return values of each column worth trying, (d, v), NaN where there are fewer: categories, quantiles, ends."""
    region = oracle.region
    out = np.full((len(region.base_low), most + 2), np.nan)
    for j in np.flatnonzero(region.mutable):
        low, high = region.base_low[j], region.base_high[j]
        if region.whole[j] and high - low < most + 2:
            found = np.arange(low, high + 1)
        elif region.category[j]:
            found = generator.permutation(np.arange(low, high + 1))[: most + 2]
        else:
            seen = pool[:, j][~np.isnan(pool[:, j])]
            inner = np.quantile(seen, np.linspace(0, 1, most)) if len(seen) else np.zeros(0)
            found = np.unique([*inner, *(v for v in (low, high) if np.isfinite(v))])
        out[j, : len(found)] = found
    return out

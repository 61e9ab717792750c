"""What no choice of pieces can add up to, by linear relaxation: for ensembles of many trees that each say little.

A group takes shares of its pieces, and each cut of a feature the share of the row that lies below it; all of a group's
pieces on one side of a cut together cannot have more than that side. This is the relaxation of Kantchelian, Tygar & Joseph
2016 (Evasion and Hardening of Tree Ensemble Classifiers, section 4.1), with a constraint for each tree and cut in the
place of each leaf.
The solver's answer is not trusted: its prices make a bound that holds for any prices (Lagrange), and that is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.tree_pieces import Pieces

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]

_SURE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """What the relaxation of k pieces over m cuts says.

    bound: no row has a larger sum, rounding included. loss (k,): how much less it is for rows that lie in a piece.
    feature, cell (m,): the cuts, each after a cell; below (m,): share of the row below each. low_loss, high_loss (m,): how
    much less the bound is below and above each cut. share (k,): of each piece.
    """

    bound: float
    loss: Array
    feature: Cells
    cell: Cells
    below: Array
    low_loss: Array
    high_loss: Array
    share: Array

    def box(self, pieces: Pieces, floor: float) -> tuple[Cells, Cells]:
        """Return the cells (low, high), each (a,), outside which no row reaches ``floor``."""
        low, high = pieces.low.min(axis=0), pieces.high.max(axis=0)
        above = self.bound - self.low_loss < floor
        below = self.bound - self.high_loss < floor
        np.maximum.at(low, self.feature[above], self.cell[above] + 1)
        np.minimum.at(high, self.feature[below], self.cell[below])
        return low, high

    def rounded(self, pieces: Pieces) -> tuple[Cells, Cells]:
        """Return the cells (low, high), each (a,), that the shares round to."""
        low, high = pieces.low.min(axis=0), pieces.high.max(axis=0)
        up = self.below < 0.5
        np.maximum.at(low, self.feature[up], self.cell[up] + 1)
        np.minimum.at(high, self.feature[~up], self.cell[~up])
        return low, high


def relaxed(pieces: Pieces) -> Relaxed | None:
    """Return the relaxation of pieces of several groups; None where the solver finds none.

    Features split into sets are left out, which only raises the bound.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    k, count = len(pieces.value), len(pieces.begin)
    if not pieces.low.size:
        return None
    rows, columns, sides, cuts = _sides(pieces)
    if not len(cuts):
        return None
    feature, cell = np.divmod(cuts, int(pieces.high.max()) + 2)
    m, r = len(cuts), len(sides)
    # Below a cut of a feature is below the next one.
    chain = np.flatnonzero(feature[1:] == feature[:-1])
    place, above = np.abs(sides) - 1, sides < 0
    matrix = csr_array(
        (
            np.concatenate([np.ones(len(rows)), np.where(above, 1.0, -1.0), np.ones(len(chain)), -np.ones(len(chain))]),
            (
                np.concatenate([rows, np.arange(r), r + np.arange(len(chain)), r + np.arange(len(chain))]),
                np.concatenate([columns, k + place, k + chain, k + chain + 1]),
            ),
        ),
        shape=(r + len(chain), k + m),
    )
    most = np.concatenate([above.astype(np.float64), np.zeros(len(chain))])
    whole = csr_array((np.ones(k), (pieces.groups(), np.arange(k))), shape=(count, k + m))
    worth = np.concatenate([pieces.value, np.zeros(m)])
    answer = linprog(-worth, A_ub=matrix, b_ub=most, A_eq=whole, b_eq=np.ones(count), bounds=(0.0, 1.0), method="highs")
    if answer.status != 0:
        return None
    price = np.maximum(-np.asarray(answer.ineqlin.marginals, dtype=np.float64), 0.0)
    left = worth - matrix.T @ price
    best = np.maximum.reduceat(left[:k], pieces.begin)
    gain = left[k:]
    total = float(best.sum() + np.maximum(gain, 0.0).sum() + price @ most)
    slack = _SURE * (1.0 + float(np.abs(pieces.value).sum() + price.sum()))
    return Relaxed(
        pieces.base + total + slack, best[pieces.groups()] - left[:k], feature, cell, answer.x[k:],
        np.maximum(-gain, 0.0), np.maximum(gain, 0.0), answer.x[:k],
    )  # fmt: skip


def _sides(pieces: Pieces) -> tuple[Cells, Cells, Cells, Cells]:
    """Return which pieces lie on one side of a cut: entries (row, piece), the side of each row, and the cuts.

    A row is one group at one cut; its side is the place of the cut plus one, negative where the pieces lie above.
    A cut is feature times the number of cells that a feature may have, plus the cell that it comes after.
    """
    group = pieces.groups()
    first, last = pieces.low.min(axis=0), pieces.high.max(axis=0)
    wide, a = int(last.max()) + 2, pieces.low.shape[1]
    keys, members, above = [], [], []
    for upper, ends in ((False, pieces.high), (True, pieces.low - 1)):
        q, f = np.nonzero(ends >= first if upper else ends < last)
        # Of a group's pieces on one side of a cut, those that end at it or further off count.
        key = np.unique((group[q] * a + f) * wide + ends[q, f])
        of, cut = np.divmod(key, a * wide)
        begin, size = pieces.begin[of], np.diff(np.append(pieces.begin, len(group)))[of]
        row = np.repeat(np.arange(len(key)), size)
        piece = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size) + begin[row]
        f, cell = np.divmod(cut[row], wide)
        inside = ends[piece, f] >= cell if upper else ends[piece, f] <= cell
        keys.append(cut)
        members.append((row[inside], piece[inside]))
        above.append(np.full(len(key), upper))
    cuts, place = np.unique(np.concatenate(keys), return_inverse=True)
    side = np.where(np.concatenate(above), -1, 1) * (place + 1)
    rows = np.concatenate([members[0][0], members[1][0] + len(keys[0])])
    columns = np.concatenate([members[0][1], members[1][1]])
    return rows, columns, side, cuts


__all__ = ["Relaxed", "relaxed"]

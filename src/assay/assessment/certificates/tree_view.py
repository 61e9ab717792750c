"""One sample's view of an ensemble: which leaves it can reach, how far each is, and the pieces within a distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.tree_pieces import Pieces, Space, length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.tree_grid import Edges
    from assay.contract.region import Region
    from assay.models.tree_leaves import Leaves

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The cells that a sample x0 (d,) can reach, empty ones left out, and the k leaves that lie in them.

    start (d + 1,): first cell of each feature; home (d,): the sample's; point, far (c,): nearest value and its distance.
    leaf (k,): place in the table of leaves; low, high (k, d): their cells; distance (k,): in ``norm``. odd: features
    split into sets, with the cells of each leaf (k, c_f).
    """

    x0: Array
    norm: str
    start: Cells
    home: Cells
    point: Array
    far: Array
    leaf: Cells
    low: Cells
    high: Cells
    distance: Array
    odd: dict[int, Flags]

    @classmethod
    def of(cls, leaves: Leaves, edges: Edges, region: Region, x0: Array, norm: str) -> View:
        """Return the view of one sample x0 (d,)."""
        grid = edges.grid(x0, region)
        valid = np.isfinite(grid.far)
        rank = np.cumsum(valid) - 1
        begin = grid.start[:-1]
        count = np.add.reduceat(valid, begin, dtype=np.intp)
        start = np.concatenate([[0], np.cumsum(count)])
        rank = rank - np.repeat(start[:-1], np.diff(grid.start))
        after = np.where(grid.after < np.repeat(np.diff(grid.start), np.diff(grid.start)), rank + ~valid, 1 << 30)
        before = np.where(grid.before >= 0, rank, -1)
        widest = np.diff(grid.start) - 1
        never = leaves.low > leaves.high
        low = np.where(never, 1 << 30, after[begin + np.minimum(leaves.low, widest)])
        high = before[begin + np.maximum(leaves.high, 0)]
        low, high = np.where(grid.missing, 0, low), np.where(grid.missing, 0, high)
        fits = (low <= high).all(axis=1) & (leaves.missing | ~grid.missing).all(axis=1)
        odd = {}
        for f, cells in leaves.sets.items():
            if not grid.missing[f]:
                odd[f] = cells[:, valid[grid.start[f] : grid.start[f + 1]]]
                fits &= odd[f].any(axis=1)
        i = np.flatnonzero(fits)
        odd = {f: cells[i] for f, cells in odd.items()}
        view = cls(
            x0,
            norm,
            start,
            rank[begin + grid.home],
            grid.point[valid],
            grid.far[valid],
            i,
            low[i],
            high[i],
            np.zeros(0),
            odd,
        )
        near = start[:-1] + np.clip(view.home, view.low, view.high)
        far = view.far[near]
        for f, cells in odd.items():
            far[:, f] = np.where(cells, view.far[start[f] : start[f + 1]], np.inf).min(axis=1)
        distance = length(far, norm)
        return cls(x0, norm, start, view.home, view.point, view.far, i, view.low, view.high, distance, odd)

    def first_doubt(self, tree: Cells, value: Array, base: float, floor: float) -> float:
        """Return the distance up to which even the best leaves of all trees, (k,) each, do not add up to ``floor``.

        Infinite when they never do. Leaves are let in by distance; the sum of each tree's best only grows.
        """
        order = np.lexsort((self.distance, tree))
        t, v = tree[order], value[order]
        first = np.concatenate([[True], t[1:] != t[:-1]])
        group = np.cumsum(first)
        lift = float(v.max() - v.min()) + 1.0
        best = _running_best(v, group, lift)
        gain = np.where(first, best, best - np.concatenate([[0.0], best[:-1]]))
        by_distance = np.argsort(self.distance[order], kind="stable")
        total = base + np.cumsum(gain[by_distance])
        # Every tree has a leaf at distance 0, so that all are counted once the distance is positive or done with.
        far = self.distance[order][by_distance]
        whole = np.cumsum(first[by_distance]) == group[-1]
        hit = np.flatnonzero(whole & (total >= floor))
        return float(far[hit[0]]) if len(hit) else np.inf

    def within(self, tree: Cells, value: Array, base: float, radius: float) -> tuple[Pieces, Space, Cells]:
        """Return the pieces no farther than ``radius``, how they are measured, and the features that tell them apart.

        tree, value (k,): of each leaf of the view. Features are (a,), those split into sets not among them.
        """
        i = np.flatnonzero(self.distance <= radius)
        feature = np.repeat(np.arange(len(self.home)), np.diff(self.start))
        cell = np.arange(len(feature)) - self.start[feature]
        near = np.flatnonzero(self.far <= radius)
        least, most = self.home.copy(), self.home.copy()
        np.minimum.at(least, feature[near], cell[near])
        np.maximum.at(most, feature[near], cell[near])
        low, high = np.maximum(self.low[i], least), np.minimum(self.high[i], most)
        active = np.logical_or.reduce((low > least) | (high < most), axis=0)
        active[list(self.odd)] = False
        chosen = np.flatnonzero(active)
        widest = int(np.diff(self.start)[chosen].max(initial=1))
        far = np.full((len(chosen), widest), np.inf)
        for row, f in enumerate(chosen):
            far[row, : self.start[f + 1] - self.start[f]] = self.far[self.start[f] : self.start[f + 1]]
        allow, parts, costs = self._sets(i, radius)
        t = tree[i]
        begin = np.flatnonzero(np.concatenate([[True], t[1:] != t[:-1]]))
        pieces = Pieces(low[:, chosen], high[:, chosen], allow, value[i], self.distance[i], begin, base)
        return pieces, Space(self.home[chosen], far, self.norm, parts, costs), chosen

    def row(self, space: Space, chosen: Cells, low: Cells, high: Cells, allow: Flags) -> Array:
        """Return the row (d,) of a box, low and high (a,), allow (s,), that is nearest to the sample."""
        x = self.x0.copy()
        moved = space.near(low, high)
        at = self.start[chosen] + moved
        x[chosen] = np.where(moved == space.home, x[chosen], self.point[at])
        for f, (begin, end) in zip(self.odd, space.parts, strict=True):
            cell = int(np.where(allow[begin:end], space.costs[begin:end], np.inf).argmin())
            if cell != self.home[f]:
                x[f] = self.point[self.start[f] + cell]
        return x

    def _sets(self, i: Cells, radius: float) -> tuple[Flags, tuple[tuple[int, int], ...], Array]:
        columns, parts, costs, begin = [np.zeros((len(i), 0), dtype=bool)], [], [np.zeros(0)], 0
        for f, cells in self.odd.items():
            cost = self.far[self.start[f] : self.start[f + 1]]
            columns.append(cells[i] & (cost <= radius))
            parts.append((begin, begin + len(cost)))
            costs.append(cost)
            begin += len(cost)
        return np.concatenate(columns, axis=1), tuple(parts), np.concatenate(costs)


def _running_best(value: Array, group: Cells, lift: float) -> Array:
    """Return the largest value so far within each group, (k,); groups are in order and their values lie within ``lift``."""
    # Lifting each group above the one before makes one running maximum serve all; it only picks, nothing is rounded.
    lifted = value + group * lift
    best = np.maximum.accumulate(lifted)
    place = np.maximum.accumulate(np.where(lifted == best, np.arange(len(value)), 0))
    return value[place]


__all__ = ["View"]

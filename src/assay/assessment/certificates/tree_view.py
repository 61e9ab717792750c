"""One sample's view of an ensemble: which leaves it can reach, how far each is, and the pieces within a distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.tree_pieces import Pieces, Space, length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.tree_grid import Edges, Grid
    from assay.contract.region import Region
    from assay.models.tree_leaves import Leaves

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]

_NEVER = 1 << 30
_SMALL = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The cells that a sample x0 (d,) can reach, empty ones left out, and the k leaves that lie in them.

    start (d + 1,): first cell of each feature; home (d,): the sample's; point, far (c,): nearest value and its distance.
    leaf (k,): place in the table of leaves; distance (k,): in ``norm``. after, before: of each cell of the ensemble, the
    reachable one next to it on either side. odd: features split into sets, with the cells of each leaf (k, c_f).
    """

    x0: Array
    norm: str
    start: Cells
    home: Cells
    point: Array
    far: Array
    leaf: Cells
    distance: Array
    odd: dict[int, Flags]
    after: Cells
    before: Cells
    missing: Flags

    @classmethod
    def of(cls, leaves: Leaves, edges: Edges, region: Region, x0: Array, norm: str) -> View:
        """Return the view of one sample x0 (d,)."""
        grid = edges.grid(x0, region)
        valid = np.isfinite(grid.far)
        begin, width = grid.start[:-1], np.diff(grid.start)
        start = np.concatenate([[0], np.cumsum(np.add.reduceat(valid, begin, dtype=np.intp))])
        rank = np.cumsum(valid) - 1 - np.repeat(start[:-1], width)
        after = np.where(grid.after < np.repeat(width, width), rank + ~valid, _NEVER)
        before = np.where(grid.before >= 0, rank, -1)
        # Seen from home, a range is as far as its near end: the low one when it lies above, the high one when below.
        up, down = _ends(grid)
        change = np.maximum(up[edges.first], down[edges.last])
        fits = np.ones(len(change), dtype=bool)
        if not valid.all():
            fits = np.logical_and.reduce(after[edges.first] <= before[edges.last], axis=1)
        if edges.never.any():
            change[edges.never] = np.inf
        if grid.missing.any():
            gone = grid.missing
            change[:, gone] = np.where(leaves.missing[:, gone], 0.0, np.inf)
            if not valid.all() or edges.never.any():
                kept = ~gone
                fits = np.logical_and.reduce((after[edges.first] <= before[edges.last])[:, kept], axis=1)
        odd = {}
        for f, cells in leaves.sets.items():
            if not grid.missing[f]:
                span = slice(grid.start[f], grid.start[f + 1])
                odd[f] = cells[:, valid[span]]
                change[:, f] = np.where(cells, grid.far[span], np.inf).min(axis=1)
        distance = np.where(fits, length(change, norm), np.inf)
        i = np.flatnonzero(np.isfinite(distance))
        return cls(
            x0, norm, start, rank[begin + grid.home], grid.point[valid], grid.far[valid], i, distance[i],
            {f: cells[i] for f, cells in odd.items()}, after, before, grid.missing,
        )  # fmt: skip

    def boxes(self, edges: Edges, i: Cells) -> tuple[Cells, Cells]:
        """Return the cells (low, high), each (m, d), of the leaves at places i (m,) of the view."""
        leaf = self.leaf[i]
        low, high = self.after[edges.first[leaf]], self.before[edges.last[leaf]]
        return np.where(self.missing, 0, low), np.where(self.missing, 0, high)

    def first_doubt(self, tree: Cells, value: Array, base: float, floor: float) -> float:
        """Return the distance up to which even the best leaves of all trees, (k,) each, do not add up to ``floor``.

        Infinite when they never do. Leaves are let in by distance; the sum of each tree's best only grows.
        """
        nearest = np.argsort(self.distance, kind="stable")
        # Small integers are sorted by their digits, which takes one pass.
        by_tree = np.argsort(tree[nearest].astype(np.uint32 if tree[-1] > _SMALL else np.uint16), kind="stable")
        order = nearest[by_tree]
        t, v = tree[order], value[order]
        first = np.concatenate([[True], t[1:] != t[:-1]])
        group = np.cumsum(first)
        lift = float(v.max() - v.min()) + 1.0
        best = _running_best(v, group, lift)
        gain = np.where(first, best, best - np.concatenate([[0.0], best[:-1]]))
        added, opened = np.empty_like(gain), np.empty(len(gain), dtype=np.intp)
        added[by_tree], opened[by_tree] = gain, first
        total = base + np.cumsum(added)
        # Every tree has a leaf at distance 0, so that all are counted once the distance is positive or done with.
        hit = np.flatnonzero((np.cumsum(opened) == group[-1]) & (total >= floor))
        return float(self.distance[nearest[hit[0]]]) if len(hit) else np.inf

    def within(
        self, edges: Edges, tree: Cells, value: Array, base: float, radius: float
    ) -> tuple[Pieces, Space, Cells]:
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
        low, high = self.boxes(edges, i)
        low, high = np.maximum(low, least), np.minimum(high, most)
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

    def rows(self, space: Space, chosen: Cells, low: Cells, high: Cells, allow: Flags) -> Array:
        """Return the rows (k, d) of boxes, low and high (k, a), allow (k, s), that are nearest to the sample."""
        x = np.repeat(self.x0[None], len(low), axis=0)
        moved = space.near(low, high)
        x[:, chosen] = np.where(moved == space.home, x[:, chosen], self.point[self.start[chosen] + moved])
        for f, (begin, end) in zip(self.odd, space.parts, strict=True):
            cell = np.where(allow[:, begin:end], space.costs[begin:end], np.inf).argmin(axis=1)
            x[:, f] = np.where(cell == self.home[f], x[:, f], self.point[self.start[f] + cell])
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


def _ends(grid: Grid) -> tuple[Array, Array]:
    """Return what a range costs by its low end, (c,), and by its high end: 0 on the side of home that leaves it inside."""
    width = np.repeat(np.diff(grid.start), np.diff(grid.start))
    begin = np.repeat(grid.start[:-1], np.diff(grid.start))
    beside = np.arange(len(begin)) - begin - np.repeat(grid.home, np.diff(grid.start))
    next_up = np.where(grid.after < width, grid.far[np.minimum(begin + grid.after, len(begin) - 1)], np.inf)
    next_down = np.where(grid.before >= 0, grid.far[begin + np.maximum(grid.before, 0)], np.inf)
    return np.where(beside > 0, next_up, 0.0), np.where(beside < 0, next_down, 0.0)


def _running_best(value: Array, group: Cells, lift: float) -> Array:
    """Return the largest value so far within each group, (k,); groups are in order and their values lie within ``lift``."""
    # Lifting each group above the one before makes one running maximum serve all; it only picks, nothing is rounded.
    lifted = value + group * lift
    best = np.maximum.accumulate(lifted)
    place = np.maximum.accumulate(np.where(lifted == best, np.arange(len(value)), 0))
    return value[place]


__all__ = ["View"]

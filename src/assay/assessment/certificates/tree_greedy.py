"""A flip found greedily: for samples whose exact search takes too long, and as the upper end of their interval.

From the sample on, the one change of a value that brings the ensemble nearest to another class is made, until it has
it. All changes of all values are weighed at once: a leaf counts for a change if nothing else keeps the row out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.tree_grid import Edges
    from assay.assessment.certificates.tree_search import Rival
    from assay.assessment.certificates.tree_view import View

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]

_STEPS = 60
_WIDER = 1.5
_HALVINGS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Greedy:
    """The greedy search of one sample against one other class. low, high (k, d): cells of the leaves of the view."""

    view: View
    rival: Rival
    low: Cells
    high: Cells

    @classmethod
    def of(cls, view: View, edges: Edges, rival: Rival) -> Greedy:
        """Return the search. Features split into sets are left as they are."""
        low, high = view.boxes(edges, np.arange(len(view.leaf)))
        for f, cells in view.odd.items():
            stays = cells[:, view.home[f]]
            low[:, f], high[:, f] = np.where(stays, 0, cells.shape[1]), np.where(stays, cells.shape[1] - 1, -1)
        return cls(view, rival, low, high)

    def nearest(self, lower: float, *, until: float) -> Array | None:
        """Return a row (d,) that is of the other class by the sums, found at small distance; None when none is found.

        lower: no flip is closer than this. until: when to stop looking for a nearer one, as ``perf_counter`` has it.
        """
        if self.view.norm != "linf":
            return self._row(self._walk(np.inf))
        most = float(self.view.far.max())
        radius, failed = max(lower, float(self.view.far[self.view.far > 0].min(initial=np.inf))), lower
        best: Cells | None = None
        while best is None and np.isfinite(radius):
            best = self._walk(radius)
            if best is None:
                if radius >= most:
                    return None
                failed, radius = radius, radius * _WIDER
        for _ in range(_HALVINGS):
            if best is None:
                return None
            if perf_counter() > until:
                break
            reach = float(self.view.far[self.view.start[:-1] + best].max())
            better = self._walk((failed + reach) / 2.0)
            if better is None:
                failed = (failed + reach) / 2.0
            else:
                best = better
        return self._row(best)

    def _walk(self, radius: float) -> Cells | None:
        """Return cells (d,) of a row of the other class no farther than ``radius`` in any value, None when it gets stuck."""
        view, wanted = self.view, self.rival.sure
        # Leaves that lie farther are out of reach of every row looked at.
        i = np.flatnonzero(view.distance <= radius)
        low, high, worth = self.low[i], self.high[i], self.rival.value[i]
        cells, now = view.home.copy(), -np.inf
        outside = (low > cells) | (high < cells)
        feature = np.repeat(np.arange(len(cells)), np.diff(view.start))
        reachable = view.far <= radius
        for _ in range(_STEPS):
            sums = np.where(reachable, self._moved(low, high, worth, outside), -np.inf)
            hit = np.flatnonzero(sums > wanted)
            if len(hit):
                place = hit[np.argmin(view.far[hit])]
                cells[feature[place]] = place - view.start[feature[place]]
                return self._put_back(cells, low, high, worth)
            if view.norm == "linf":
                place = int(sums.argmax())
            else:
                # Where changes add up, what counts is how far each brings the sum for its length.
                start = sums[view.start[:-1] + cells][feature]
                extra = view.far - view.far[view.start[:-1] + cells][feature]
                place = int(np.where(extra > 0, (sums - start) / np.maximum(extra, 1e-300), -np.inf).argmax())
            if not sums[place] > now:
                return None
            now = float(sums[place])
            f = feature[place]
            cells[f] = place - view.start[f]
            outside[:, f] = (low[:, f] > cells[f]) | (high[:, f] < cells[f])
        return None

    def _moved(self, low: Cells, high: Cells, worth: Array, outside: Flags) -> Array:
        """Return the sum of the ensemble after moving one value into each cell of its feature, all others left.

        low, high (k, d), worth (k,): of the leaves that count; outside (k, d): which values keep the row out of each.
        """
        view = self.view
        kept_out = outside.sum(axis=1)
        inside, near = np.flatnonzero(kept_out == 0), np.flatnonzero(kept_out == 1)
        d = outside.shape[1]
        leaf = np.concatenate([np.repeat(inside, d), near])
        f = np.concatenate([np.tile(np.arange(d), len(inside)), outside[near].argmax(axis=1)])
        # One cell more for each feature takes the end of ranges that reach its last.
        begin = view.start[:-1] + np.arange(d)
        size = int(view.start[-1]) + d
        steps = np.bincount(begin[f] + low[leaf, f], worth[leaf], size)
        steps -= np.bincount(begin[f] + high[leaf, f] + 1, worth[leaf], size)
        sums = np.cumsum(steps)
        real = np.ones(size, dtype=bool)
        real[begin + np.diff(view.start)] = False
        return np.asarray(self.rival.base + sums[real], dtype=np.float64)

    def _put_back(self, cells: Cells, low: Cells, high: Cells, worth: Array) -> Cells:
        """Return the cells with every change undone, dearest first, that the other class does not need."""
        view = self.view
        far = view.far[view.start[:-1] + cells]
        for f in np.argsort(-far, kind="stable"):
            if cells[f] != view.home[f]:
                tried = cells.copy()
                tried[f] = view.home[f]
                inside = ((low <= tried) & (tried <= high)).all(axis=1)
                if self.rival.base + worth[inside].sum() > self.rival.sure:
                    cells = tried
        return cells

    def _row(self, cells: Cells | None) -> Array | None:
        if cells is None:
            return None
        moved = self.view.point[self.view.start[:-1] + cells]
        return np.where(cells == self.view.home, self.view.x0, moved)


__all__ = ["Greedy"]

"""The cells of an ensemble as one sample sees them: the nearest value in each that its owner can bring about.

Within the feasible region a sample's values move in ranges, one way or by steps. Cells that no such value lies in are
empty. Walking away from the sample's own cell, distances never fall, so that the nearest value of a range of
cells is that of the cell closest to home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.tree_leaves import Leaves

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]

# Share of a step by which the region lets a value pass its bounds, since steps are added with rounding.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Cells of all features in one row of arrays, (c,); those of feature f are ``start[f]`` to ``start[f + 1]``.

    home (d,): cell of the sample's own value, counted from the feature's first. point (c,): the feasible value nearest
    to the sample in each cell; far (c,): its distance in scaled units, infinite in empty cells. after, before (c,): the
    first cell that is not empty from a cell on, and the last up to it, counted from the feature's first.
    missing (d,): the sample has no value there, and keeps it so.
    """

    start: Cells
    home: Cells
    point: Array
    far: Array
    after: Cells
    before: Cells
    missing: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The edges of all cells of an ensemble, (c,), and the feature of each; made once for all samples.

    first, last (k, d): the cells of its range that each leaf begins and ends with, counted over all features; never
    (k, d): its range holds no finite value.
    """

    start: Cells
    feature: Cells
    low: Array
    high: Array
    first: NDArray[np.int32]
    last: NDArray[np.int32]
    never: Flags

    @classmethod
    def of(cls, leaves: Leaves) -> Edges:
        """Return the edges of the cells of an ensemble's leaves."""
        cuts = leaves.cuts
        sizes = np.array([len(c) + 1 for c in cuts])
        low = np.concatenate([np.concatenate([[-np.inf], c]) for c in cuts])
        high = np.concatenate([np.concatenate([c, [np.inf]]) for c in cuts])
        start = np.concatenate([[0], np.cumsum(sizes)])
        begin = start[:-1].astype(np.int32)
        first = begin + np.minimum(leaves.low, sizes.astype(np.int32) - 1)
        last = begin + np.maximum(leaves.high, 0)
        feature = np.repeat(np.arange(len(cuts)), sizes)
        return cls(start, feature, low, high, first, last, leaves.low > leaves.high)

    def grid(self, x0: Array, region: Region) -> Grid:
        """Return the grid of one sample x0 (d,)."""
        missing = np.isnan(x0)
        at = np.where(missing, 0.0, x0)
        f = self.feature
        value = at[f]
        own = (self.low < value) & (value <= self.high)
        least, most = region.low(at[None])[0][f], region.high(at[None])[0][f]
        step = region.step[f]
        anchor = np.where(region.whole, np.rint(at), at)[f]
        right = value <= self.low
        point = np.where(right, np.nextafter(self.low, np.inf), self.high)
        stepped = np.flatnonzero(step > 0)
        point[stepped] = _on_steps(
            anchor[stepped], step[stepped], right[stepped], self.low[stepped], self.high[stepped]
        )
        point = np.where(own, value, point)
        # Beyond a bound the bound itself may still lie in the cell, on a value that moves freely.
        inside = np.where(right, np.maximum(point, least), np.minimum(point, most))
        point = np.where(~own & (step == 0), inside, point)
        slack = _SLACK * step
        valid = (point > self.low) & (point <= self.high) & (point >= least - slack) & (point <= most + slack)
        valid &= np.isfinite(point) & ~(missing | ~region.mutable)[f] | own
        far = np.where(own, 0.0, np.abs(point - value) / region.scale[f])
        far = np.where(region.category[f] & ~own, 1.0, far)
        far = np.where(valid, far, np.inf)
        cell = np.arange(len(f)) - self.start[f]
        after, before = _neighbours(valid, self.start)
        home = np.zeros(len(at), dtype=np.intp)
        home[f[own]] = cell[own]
        return Grid(self.start, home, point, far, after, before, missing)


def _on_steps(anchor: Array, step: Array, right: Flags, low: Array, high: Array) -> Array:
    """Return, for cells beside the sample's own, the value on its steps that is nearest to it; NaN without one."""
    with np.errstate(invalid="ignore"):
        count = np.where(right, np.floor((low - anchor) / step) + 1.0, np.floor((high - anchor) / step))
        point = anchor + count * step
        # Rounding may have put it a step off.
        point = np.where(right & (point <= low), anchor + (count + 1.0) * step, point)
        point = np.where(~right & (point > high), anchor + (count - 1.0) * step, point)
        earlier = anchor + (count - 1.0) * step
        point = np.where(right & (earlier > low), earlier, point)
        later = anchor + (count + 1.0) * step
        return np.where(~right & (later <= high), later, point)


def _neighbours(valid: Flags, start: Cells) -> tuple[Cells, Cells]:
    """Return for each cell the first valid one from it on, and the last up to it; one past the ends where there is none."""
    size = len(valid)
    place = np.arange(size)
    last = np.where(valid, place, -1)
    first = np.where(valid, place, size)
    before, after = np.maximum.accumulate(last), np.minimum.accumulate(first[::-1])[::-1]
    begin = np.repeat(start[:-1], np.diff(start))
    end = np.repeat(start[1:], np.diff(start))
    before = np.where(before < begin, -1, before - begin)
    after = np.where(after >= end, end - begin, after - begin)
    return after, before


__all__ = ["Edges", "Grid"]

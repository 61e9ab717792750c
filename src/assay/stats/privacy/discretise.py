"""A loss in cells made into atoms on the grid: one version that is never better for the attacker, one never worse.

Both move mass within a cell or a few and keep the masses under P and under Q where they can; that more spread of dQ/dP
only helps the attacker (its hockey-stick divergence is convex) is the whole proof: docs/adr/0014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.stats.privacy.events import Cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

_ON_GRID = 1e-9
_LONGEST = 12
_LIGHT = 1e-14


@dataclass(frozen=True, slots=True)
class Atoms:
    """Masses (m,) under P at the losses (first + i) h; ``infinite``: mass of an unbounded loss.

    error: (m,) bound, at the loss where it costs most, of what rounding has moved; shift: of the grid's own error.
    """

    first: int
    mass: Array
    infinite: float
    error: Array
    shift: float

    def losses(self, h: float) -> Array:
        """Return the loss of each atom."""
        return (self.first + np.arange(len(self.mass))) * h


def upper(cells: Cells, h: float) -> Atoms:
    """Return atoms that dominate the cells: each cell's mass goes to its two edges so that P and Q keep their masses.

    Doroshenko et al. 2022 (connect the dots). What lies below the grid is put on its first point, what lies above it
    has an unbounded loss.
    """
    m = len(cells.p)
    to_upper = _share(cells, h)
    first, mass = _room(cells, h, m + 1)
    start = cells.first - first
    mass[start : start + m] += cells.p - to_upper
    mass[start + 1 : start + m + 1] += to_upper
    mass[start] += cells.below
    for loss, weight in cells.atoms:
        place = loss / h
        k = int(np.floor(place + _ON_GRID))
        share = 0.0 if abs(place - k) <= _ON_GRID else -np.expm1(k * h - loss) / -np.expm1(-h)
        mass[k - first] += weight * (1 - share)
        mass[k + 1 - first] += weight * share
    return _atoms(cells, h, first, mass, cells.infinite + cells.above)


def lower(cells: Cells, h: float) -> Atoms:
    """Return atoms that the cells dominate: a block of cells goes to the two points around its mean.

    P and Q keep their masses, and the two points carry less spread than the block whenever the test of ``_narrower``
    holds. Blocks are of three cells, of more where the density is steep; where no block of at most 12 will do, a cell
    is rounded down. What lies beyond the grid is left out, and so is ``above``.
    """
    m = len(cells.p)
    first, mass = _room(cells, h, m + 1)
    if m:
        start = cells.first - first
        _blocks(cells, mass[start : start + m + 1], h)
    for loss, weight in cells.atoms:
        mass[int(np.floor(loss / h + _ON_GRID)) - first] += weight
    return _atoms(cells, h, first, mass, cells.infinite)


def _blocks(cells: Cells, mass: Array, h: float) -> None:
    """Add to ``mass`` (m + 1,) what the cells (m,) become."""
    m = len(cells.p)
    whole = m - m % 3
    r = np.clip(cells.r, cells.p * np.exp(-h), cells.p)
    # Masses under Q relative to the block's lower edge, so that one scale serves three cells.
    p = cells.p[:whole].reshape(-1, 3)
    fits, upper_share = _narrower(p, r[:whole].reshape(-1, 3) * np.exp(-h * np.arange(3)), 1, h)
    # A block that fails takes its neighbours with it, so that a longer one can be made of them.
    fails = np.append(~fits, m > whole)
    near = np.convolve(fails & np.append(p.sum(axis=1) > _LIGHT, True), np.ones(5))[2:-2] > 0
    fits &= ~near[:-1]
    block = mass[:whole].reshape(-1, 3)
    block[:, 1] += np.where(fits, p.sum(axis=1) - upper_share, 0.0)
    block[:, 2] += np.where(fits, upper_share, 0.0)
    left = np.concatenate([np.repeat(~fits, 3), np.ones(m - whole, bool)])
    _long_blocks(cells.p, r, left, mass, h)


def _narrower(p: Array, r: Array, middle: int, h: float) -> tuple[NDArray[np.bool_], Array]:
    """Return which blocks (b, k) of cells have at least the spread of the edges of cell ``middle``, and the upper's mass.

    In u = dQ/dP, whose order is that of falling loss, the edges b < c of a cell with mass and mean of the block, w of
    it at c, are narrower than the block if the cells beyond c have sum p (mean - m) >= w (c - m), m the mean of the
    cell itself: the mean excess over k is then no larger at k = b, m and c, and it is convex between.
    """
    small, large = np.exp(-(middle + 1) * h), np.exp(-middle * h)
    total, mean = p.sum(axis=1), r.sum(axis=1)
    at_small = (total * large - mean) / (large - small)
    at_large = total - at_small
    own = p[:, middle]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.where(own > 0, r[:, middle] / own, small)
        excess = r[:, :middle].sum(axis=1) - p[:, :middle].sum(axis=1) * centre
        fits = (total > 0) & (at_small >= 0) & (at_large >= 0) & (excess >= at_large * (large - centre))
    return fits, np.where(fits, at_small, 0.0)


def _long_blocks(p: Array, r: Array, left: NDArray[np.bool_], mass: Array, h: float) -> None:
    """Add to ``mass`` (m + 1,) what the cells marked in ``left`` become: in blocks of 3 to 12, else rounded down."""
    heavy = left & (p > _LIGHT)
    mass[:-1] += np.where(left & ~heavy, p, 0.0)
    edges = np.flatnonzero(np.diff(heavy, prepend=False, append=False))
    for at, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        while at < end:
            at += _next_block(p[at:end], r[at:end], mass[at : end + 1], h)  # noqa: PLW2901 - walks through the run


def _next_block(p: Array, r: Array, mass: Array, h: float) -> int:
    """Add to ``mass`` what the first cells of a run become; return how many cells that is.

    No block leaves one or two cells over, of which none could be made.
    """
    for size in range(3, min(_LONGEST, len(p)) + 1):
        found = None if len(p) - size in {1, 2} else _two_points(p[:size], r[:size], h)
        if found is not None:
            middle, low, high = found
            mass[middle] += low
            mass[middle + 1] += high
            return size
    mass[0] += p[0]
    return 1


def _two_points(p: Array, r: Array, h: float) -> tuple[int, float, float] | None:
    """Return (cell, mass at its lower edge, mass at its upper edge) that a block becomes, None when it is too narrow."""
    scaled = r * np.exp(-h * np.arange(len(p)))
    middle = int(-np.log(scaled.sum() / p.sum()) / h)
    if not 0 < middle < len(p) - 1:
        return None
    fits, share = _narrower(p[None], scaled[None], middle, h)
    return (middle, float(p.sum() - share[0]), float(share[0])) if fits[0] else None


def _share(cells: Cells, h: float) -> Array:
    """Return the mass of each cell that goes to its upper edge."""
    moved: Array = np.clip((cells.p - cells.r) / -np.expm1(-h), 0.0, cells.p)
    return moved


def _room(cells: Cells, h: float, points: int) -> tuple[int, Array]:
    """Return the first index and zeros for all points of cells and atoms."""
    first, last = cells.first, cells.first + points
    if len(cells.atoms):
        places = cells.atoms[:, 0] / h
        first = min(first, int(np.floor(places.min())) - 1)
        last = max(last, int(np.ceil(places.max())) + 3)
    return first, np.zeros(last - first)


def _atoms(cells: Cells, h: float, first: int, mass: Array, infinite: float) -> Atoms:
    error = np.zeros(len(mass))
    start = cells.first - first
    error[start + 1 : start + 1 + len(cells.error)] = cells.error
    shift = cells.shift + (_ON_GRID * h if len(cells.atoms) else 0.0)
    return Atoms(first, mass, infinite, error, shift)

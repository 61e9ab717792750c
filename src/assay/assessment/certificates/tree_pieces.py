"""Pieces: boxes of cells on which groups of trees are constant, joined and thrown away until nothing can flip.

Trees are grouped; each group has pieces that do not overlap within it, and on each the sum of its trees is known. The
best that any row can do is bounded by the sum of each group's best piece. A piece goes when even the best pieces that
overlap it do not lead to a flip; two groups are joined by intersecting their pieces. When one group is left, its pieces
are exact. After the multi-level bound of Chen et al. 2019 (Robustness Verification of Tree-based Models), with removal
of pieces between levels, which they do not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]


def length(far: Array, norm: str) -> Array:
    """Return the length (k,) of changes (k, a) that are in units of scale."""
    if norm == "linf":
        return np.asarray(far.max(axis=1, initial=0.0), dtype=np.float64)
    if norm == "l1":
        return np.asarray(far.sum(axis=1), dtype=np.float64)
    return np.asarray(np.sqrt((far * far).sum(axis=1)), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """What pieces are measured by. home (a,): the sample's cells of the features that matter, empty ones left out.

    far (a, widest): distance of each cell, infinite beyond a feature's last. norm: how they add up.
    parts: columns (from, to) of ``allow`` that belong to one feature split into sets; costs (s,): distance of each.
    """

    home: Cells
    far: Array
    norm: str
    parts: tuple[tuple[int, int], ...]
    costs: Array

    def near(self, low: Cells, high: Cells) -> Cells:
        """Return the cells of boxes low, high (..., a) that are nearest to the sample."""
        return np.minimum(np.maximum(self.home, low), high)

    def reach(self, limit: float) -> tuple[Cells, Cells, Flags]:
        """Return the first and last cells (a,) closer than ``limit``, and which cells of sets (s,) are."""
        near = self.far < limit
        return near.argmax(axis=1), near.shape[1] - 1 - near[:, ::-1].argmax(axis=1), self.costs < limit

    def distance(self, low: Cells, high: Cells, allow: Flags) -> Array:
        """Return how far each of k boxes lies from the sample, (k,): infinite where it holds no feasible row."""
        far = self.far[np.arange(len(self.home)), self.near(low, high)]
        if self.parts:
            odd = np.where(allow, self.costs, np.inf)
            far = np.concatenate([far, *(odd[:, a:b].min(axis=1, keepdims=True) for a, b in self.parts)], axis=1)
        return length(far, self.norm)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """k boxes, sorted by group. low, high (k, a): cells, both included; allow (k, s): cells of features split into sets.

    value (k,): what the group adds there; distance (k,); begin (g,): first box of each group; base: the sum of what is
    the same everywhere. overlap: which boxes share a cell, None until it is asked for; it may be that of more boxes, of
    which ``place`` (k,) are these (None: all of them, in order).
    """

    low: Cells
    high: Cells
    allow: Flags
    value: Array
    distance: Array
    begin: Cells
    base: float
    overlap: Flags | None = None
    place: Cells | None = None

    @property
    def bound(self) -> float:
        """No row of these pieces has a larger sum than this."""
        if not len(self.begin):
            return self.base
        return self.base + float(np.maximum.reduceat(self.value, self.begin).sum())

    def keep(self, flags: Flags) -> Pieces | None:
        """Return the pieces where ``flags`` (k,); None when a group is left without any: no row is in all groups then."""
        count = np.add.reduceat(flags, self.begin, dtype=np.intp)
        if not count.all():
            return None
        if flags.all():
            return self
        begin = np.concatenate([[0], np.cumsum(count)[:-1]])
        return self.chosen(np.flatnonzero(flags), begin, self.base)

    def chosen(self, i: Cells, begin: Cells, base: float) -> Pieces:
        """Return the pieces at places i (m,), with other groups and another base."""
        place = i if self.place is None else self.place[i]
        return Pieces(
            self.low[i], self.high[i], self.allow[i], self.value[i], self.distance[i], begin, base, self.overlap,
            None if self.overlap is None else place,
        )  # fmt: skip

    def compared(self, space: Space) -> Pieces:
        """Return the pieces with ``overlap`` (k, k) of just these."""
        overlap = self.overlap
        if overlap is None:
            overlap = overlaps(self, space)
        elif self.place is not None:
            # All parts of one picture are kept until here, since most rounds of thinning leave few of them.
            overlap = overlap[np.ix_(self.place, self.place)]
        return Pieces(self.low, self.high, self.allow, self.value, self.distance, self.begin, self.base, overlap)

    def groups(self) -> Cells:
        """Return the group of each piece, (k,)."""
        return np.repeat(np.arange(len(self.begin)), np.diff(np.append(self.begin, len(self.value))))


def overlaps(pieces: Pieces, space: Space) -> Flags:
    """Return which pieces share a cell of every feature, (k, k)."""
    k, a = pieces.low.shape
    out = np.ones((k, k), dtype=bool)
    low, high = pieces.low.astype(np.int16), pieces.high.astype(np.int16)
    for f in range(a):
        bound = low[:, f].max() > high[:, f].min()
        if bound:
            fits = low[:, f][:, None] <= high[:, f][None, :]
            out &= fits
            out &= fits.T
    for begin, end in space.parts:
        part = pieces.allow[:, begin:end].astype(np.float32)
        out &= (part @ part.T) > 0
    return out


def shrink(pieces: Pieces, space: Space, floor: float, limit: float) -> Pieces | None:
    """Return the pieces that can still be part of a sum of at least ``floor`` closer than ``limit``; None when none is.

    Groups of one piece are folded into the base, all others cut down to it.
    """
    while True:
        size = len(pieces.value)
        held = pieces.keep(pieces.distance < limit) if size else pieces
        if held is None:
            return None
        held = _fold(held, space, limit)
        if held is None:
            return None
        if not len(held.begin):
            return held if held.base >= floor else None
        best = np.maximum.reduceat(held.value, held.begin)
        rest = held.base + best.sum() - best
        held = held.keep(held.value + rest[held.groups()] >= floor)
        if held is None:
            return None
        if len(held.value) == size and not (len(held.begin) > 1 and _alone(held)):
            return held
        pieces = held


def _alone(pieces: Pieces) -> bool:
    return bool((np.diff(np.append(pieces.begin, len(pieces.value))) == 1).any())


def _fold(pieces: Pieces, space: Space, limit: float) -> Pieces | None:
    """Cut all pieces down to the cells that every group can reach, and fold groups of one piece into the base."""
    if not len(pieces.begin):
        return pieces
    low = np.minimum.reduceat(pieces.low, pieces.begin, axis=0).max(axis=0)
    high = np.maximum.reduceat(pieces.high, pieces.begin, axis=0).min(axis=0)
    allow = np.logical_and.reduce(np.logical_or.reduceat(pieces.allow, pieces.begin, axis=0), axis=0)
    # Only boxes that were alone before the cut have cut all the others; one that is alone since then comes next time.
    single = np.diff(np.append(pieces.begin, len(pieces.value))) == 1
    cut = cut_to(pieces, space, low, high, allow, limit)
    if cut is None:
        return None
    count = np.diff(np.append(cut.begin, len(cut.value)))
    # A lone group stays, so that its piece keeps saying where the rows are.
    if len(count) == 1 or not single.any():
        return cut
    if single.all():
        single[0] = False
    flags = ~single[cut.groups()]
    i = np.flatnonzero(flags)
    base = cut.base + float(cut.value[~flags].sum())
    return cut.chosen(i, np.concatenate([[0], np.cumsum(count[~single])[:-1]]), base)


def cut_to(pieces: Pieces, space: Space, low: Cells, high: Cells, allow: Flags, limit: float = np.inf) -> Pieces | None:
    """Return the pieces within a box of cells low, high (a,), allow (s,), closer than ``limit``; None when a group has none."""
    lows, highs = np.maximum(pieces.low, low), np.minimum(pieces.high, high)
    sets = pieces.allow & allow
    same = (
        np.array_equal(lows, pieces.low) and np.array_equal(highs, pieces.high) and np.array_equal(sets, pieces.allow)
    )
    if same:
        return pieces
    real = (lows <= highs).all(axis=1)
    for begin, end in space.parts:
        real &= sets[:, begin:end].any(axis=1)
    away = np.where(real, space.distance(lows, np.maximum(lows, highs), sets), np.inf)
    moved = Pieces(
        lows, highs, sets, pieces.value, away, pieces.begin, pieces.base, pieces.overlap, pieces.place
    )  # fmt: skip
    return moved.keep(real & (away < limit))

"""The exact search: the nearest row of another class, by joining pieces and splitting boxes, with proof that none is nearer.

Radii grow from a cheap lower bound. At each, all pieces within reach are joined until they are exact or gone; where
they would become too many, the box is split at the cut that lowers the bound most, and both halves are searched.
A radius that is searched through without a flip is certified; the nearest flip found while searching one through is the
nearest there is. As soon as that is no easy matter, a flip is looked for greedily, and nothing has to be searched beyond it;
linear relaxation bounds what many trees together can do (``tree_relax``), and radii are halved between the two ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.tree_greedy import Greedy
from assay.assessment.certificates.tree_pieces import Pieces, Space, cut_to, shrink
from assay.assessment.certificates.tree_relax import Relaxed, relaxed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.tree_grid import Edges
    from assay.assessment.certificates.tree_view import View

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.intp]

# Pieces that may be held at once before a box is split, and most for which all overlaps are worked out.
_HELD = 640
_MOST = 1_400
# How much farther to look next. Looking past the nearest flip costs most, so that it starts small, and doubles after a
# radius that took few steps.
_EASY = 6
_LEAST, _FARTHEST = 0.02, 0.25
# Steps after which a flip is looked for greedily, and how near to it the next radius is put on it.
_HARD = 12
_CLOSE = 1.1
# Pieces from which on a relaxation is worth its time, and how many of them have to go for another round of the rest.
_MANY, _GONE = 120, 0.25
# How far between both ends the next radius lies, and how near they come before the farther one is tried.
_BETWEEN, _NARROW = 0.75, 1.05
# A flip this much of the way to the radius, or less, stops its search for one of a smaller radius.
_NEARER = 0.7
# Share of the time that is left for that, where it comes to it.
_GREEDY = 0.15
# Rows that the model is asked about in the first call, and in the last.
_ASKED, _MOST_ASKED = 32, 512


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """One other class. tree, value (k,): of each leaf of the view, what it adds to the margin of that class over the own.

    base: where the margin starts; floor: smallest sum that may flip; sure: a sum above it flips for certain.
    """

    tree: Cells
    value: Array
    base: float
    floor: float
    sure: float


@dataclass(slots=True, eq=False)
class Found:
    """What a search knows: no flip is closer than ``lower``; ``row`` is one at ``upper``. done: the search is through.

    left: distance of the nearest box whose rows may flip, but not the nearest one in it, by the region's relations.
    """

    lower: float = 0.0
    upper: float = np.inf
    row: Array | None = None
    done: bool = False
    left: float = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What decides about rows (k, d) outside the search. flips: whether the model does; distance: of a row (d,).

    allowed: the rows themselves where the region has them, else ones nearby; and whether the region has those, (k,).
    """

    flips: Callable[[Array], Flags]
    allowed: Callable[[Array], tuple[Array, Flags]]
    distance: Callable[[Array], float]


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """The search for flips of one class closer than ``beyond``."""

    rival: Rival
    space: Space
    chosen: Cells
    beyond: float


class Search:
    """Searches for the nearest flip of one sample, for at most ``seconds``."""

    def __init__(self, view: View, edges: Edges, rivals: list[Rival], judge: Judge, *, seconds: float) -> None:
        self.view, self.rivals, self._judge = view, rivals, judge
        self._edges = edges
        self._last = perf_counter() + seconds
        self._end = self._last - _GREEDY * seconds
        self._steps, self._stride, self._work, self._tried, self._stopped = 0, _LEAST, 0, False, False
        self._certain = 0.0
        self.found = Found()

    def run(self) -> Found:
        """Return what is known when the search is through, or its time is spent."""
        found, view = self.found, self.view
        queue: list[tuple[float, float, int]] = []
        for place, rival in enumerate(self.rivals):
            doubt = view.first_doubt(rival.tree, rival.value, rival.base, rival.floor)
            queue.append((doubt, doubt, place))
        heapq.heapify(queue)
        while True:
            # The first number is what is certified for that class, the second how far to look next.
            certain, radius, place = queue[0]
            found.lower = min(certain, found.upper, found.left)
            if certain >= found.upper or not np.isfinite(certain):
                found.done = found.upper <= found.left
                return found
            radius, self._certain = self._between(certain, radius), certain
            if not self._through(self.rivals[place], radius):
                self._approach()
                return found
            if self._stopped:
                heapq.heapreplace(queue, (certain, radius, place))
            else:
                heapq.heapreplace(queue, (*self._next(radius), place))

    def _between(self, certain: float, radius: float) -> float:
        """Return a radius between what is certified and the nearest flip that is known; ``radius`` where none is sought."""
        upper = self.found.upper
        if self.view.norm != "linf" or not self._tried or not np.isfinite(upper):
            return radius
        rings = np.unique(self.view.far[(self.view.far >= certain) & (self.view.far < upper)])
        if not len(rings):
            return upper
        if upper <= _NARROW * certain and not self._stopped:
            return float(rings[-1])
        at = np.searchsorted(rings, certain + _BETWEEN * (upper - certain))
        return float(rings[min(int(at), len(rings) - 1)])

    def _approach(self) -> None:
        """Look for a flip greedily, once."""
        if self._tried:
            return
        # Nothing is searched beyond what this finds, so that its time is won back; the rest is all for the search.
        self._tried = True
        for rival in self.rivals:
            row = Greedy.of(self.view, self._edges, rival).nearest(self.found.lower, until=self._last)
            if row is not None:
                allowed, fits = self._judge.allowed(row[None])
                if fits[0] and self._judge.flips(allowed)[0]:
                    self._keep(allowed[0])
        self._end = self._last

    def _next(self, radius: float) -> tuple[float, float]:
        """Return up to where nothing flips after ``radius`` was searched through, and the next radius to search."""
        wish, upper = radius * (1.0 + self._stride), self.found.upper
        if self._steps <= _EASY or self._tried:
            # With a flip at hand, what lies beyond the nearest costs little.
            self._stride = min(2.0 * self._stride, _FARTHEST)
        else:
            self._stride = max(self._stride / 2.0, _LEAST)
        if wish * _CLOSE >= upper:
            # What is left up to the flip that is known may as well be searched in one go.
            wish = float(np.nextafter(upper, 0.0))
        if self.view.norm != "linf":
            most = np.maximum.reduceat(self.view.far, self.view.start[:-1])
            if radius >= float(most.sum() if self.view.norm == "l1" else np.sqrt((most * most).sum())):
                return np.inf, np.inf
            least = float(self.view.far[self.view.far > 0].min())
            return float(np.nextafter(radius, np.inf)), max(wish, least)
        beyond = np.unique(self.view.far[self.view.far > radius])
        if not len(beyond):
            return np.inf, np.inf
        near = beyond[beyond <= wish]
        return float(beyond[0]), float(near[-1] if len(near) else beyond[0])

    def _through(self, rival: Rival, radius: float) -> bool:
        """Search all rows up to ``radius`` for a flip. Returns False when the time is spent before the end."""
        pieces, space, chosen = self.view.within(self._edges, rival.tree, rival.value, rival.base, radius)
        task = _Pass(rival, space, chosen, float(np.nextafter(radius, np.inf)))
        # The second says whether a box was cut since its relaxation was looked at.
        stack: list[tuple[Pieces | None, bool]] = [(pieces, True)]
        self._steps, self._stopped = 0, False
        while stack and not self._stopped:
            if perf_counter() > self._end:
                return False
            held, fresh = stack.pop()
            if held is not None:
                self._steps += 1
                self._work += 1
                if self._work > _HARD:
                    self._approach()
                stack += self._step(task, held, fresh)
        return True

    def _step(self, task: _Pass, pieces: Pieces, fresh: bool) -> list[tuple[Pieces | None, bool]]:
        """Return what is left to search after pieces were thinned out, and joined or their box cut; the better part last."""
        space, floor, limit = task.space, task.rival.floor, min(task.beyond, self.found.upper)
        trimmed: Pieces | None = pieces
        if fresh and limit < task.beyond:
            trimmed = cut_to(pieces, space, *space.reach(limit), limit)
        held, best = (None, None) if trimmed is None else _thinned(trimmed, space, floor, limit)
        if held is None:
            return []
        if len(held.begin) <= 1:
            self._take(held, task)
            return []
        if fresh and self._tried and len(held.value) >= _MANY:
            easing, size = relaxed(held), len(held.value)
            if easing is not None:
                left = self._eased(held, task, easing)
                if left is None or len(left.value) < (1.0 - _GONE) * size:
                    return [(left, True)]
                held, best = _thinned(left, space, floor, limit)
                if held is None:
                    return []
        joined = None if best is None else _joined(held, space, best)
        if joined is not None:
            return [(joined, False)]
        return [(half, True) for half in _halves(held, space, floor, limit)]

    def _eased(self, held: Pieces, task: _Pass, easing: Relaxed) -> Pieces | None:
        """Return the pieces that can still be part of a flip by the relaxation, after a look at the row that it rounds to."""
        floor, space = task.rival.floor, task.space
        if easing.bound < floor:
            return None
        low, high = easing.rounded(held)
        cells = space.near(low, high)
        if self.view.norm == "linf" and (low <= high).all() and not space.parts:
            inside = ((held.low <= cells) & (cells <= held.high)).all(axis=1)
            if inside.sum() == len(held.begin) and held.base + held.value[inside].sum() > task.rival.sure:
                row = self.view.rows(space, task.chosen, low[None], high[None], held.allow[:1])
                allowed, fits = self._judge.allowed(row)
                if fits[0] and self._judge.flips(allowed)[0]:
                    self._keep(allowed[0])
                    self._stopped = self.found.upper < self._certain + _NEARER * (task.beyond - self._certain)
        kept = held.keep(easing.bound - easing.loss >= floor)
        if kept is None:
            return None
        allow = np.asarray(kept.allow.any(axis=0), dtype=bool)
        return cut_to(kept, space, *easing.box(held, floor), allow)

    def _take(self, held: Pieces, task: _Pass) -> None:
        """Look at exact pieces, nearest first, and keep the first row that flips."""
        rival = task.rival
        order = np.argsort(held.distance, kind="stable")
        total = held.base + held.value
        order = order[total[order] >= rival.floor]
        sure, start, size = total[order] > rival.sure, 0, _ASKED
        while start < len(order):
            # Up to the first row that flips for certain: those beyond it are farther.
            stop = start + 1 + int(np.argmax(np.append(sure[start : start + size], True)))
            part, start, size = order[start:stop], stop, min(4 * size, _MOST_ASKED)
            part = part[held.distance[part] < self.found.upper]
            if perf_counter() > self._end or not len(part):
                return
            rows = self.view.rows(task.space, task.chosen, held.low[part], held.high[part], held.allow[part])
            allowed, fits = self._judge.allowed(rows)
            flips = self._judge.flips(allowed)
            kept = (allowed == rows) | (np.isnan(allowed) & np.isnan(rows))
            own = kept.all(axis=1)
            hit = np.flatnonzero(fits & own & flips)
            if len(hit):
                # Places of ``part`` are in order of distance.
                self.found.upper, self.found.row = float(held.distance[part[hit[0]]]), rows[hit[0]]
            if not own.all():
                # The nearest row of a box breaks a relation; another row of it may be allowed, farther away.
                self.found.left = min(self.found.left, float(held.distance[part[~own]].min()))
                for row in allowed[fits & flips & ~own]:
                    self._keep(row)
            if self.found.upper <= held.distance[part].max():
                return

    def _keep(self, row: Array) -> None:
        far = self._judge.distance(row)
        if far < self.found.upper:
            self.found.upper, self.found.row = far, row


def _thinned(pieces: Pieces, space: Space, floor: float, limit: float) -> tuple[Pieces | None, Array | None]:
    """Return pieces without those whose best company falls short of ``floor``, and the best value of each group for each.

    The second is None where there are too many pieces to look at all pairs.
    """
    while True:
        held = shrink(pieces, space, floor, limit)
        if held is None or len(held.begin) <= 1 or len(held.value) > _MOST:
            return held, None
        held = held.compared(space)
        best = _company(held)
        fair = np.greater_equal(best.sum(axis=0), floor - held.base)
        if fair.all():
            return held, best
        kept = held.keep(fair)
        if kept is None:
            return None, None
        pieces = kept


def _company(pieces: Pieces) -> Array:
    """Return the best value of each group among the pieces that overlap each piece, (g, k)."""
    # Ranks in few bits are compared instead of the values: most of the search is spent here.
    assert pieces.overlap is not None
    order = np.argsort(pieces.value, kind="stable")
    rank = np.empty(len(order), dtype=np.uint16)
    rank[order] = np.arange(1, len(order) + 1)
    ranks = np.multiply(pieces.overlap, rank[:, None], dtype=np.uint16)
    best = np.maximum.reduceat(ranks, pieces.begin, axis=0)
    return np.concatenate([[-np.inf], pieces.value[order]])[best]


def _joined(pieces: Pieces, space: Space, best: Array) -> Pieces | None:
    """Return the pieces with groups joined in pairs, those first whose best pieces contradict each other most.

    best (g, k): the best value of each group among pieces that overlap a piece. None where any pair makes too many.
    """
    assert pieces.overlap is not None
    end = np.append(pieces.begin, len(pieces.value))
    pairs, alone = _pairs(pieces, best)
    if not pairs:
        return None
    left, right, size = [], [], []
    for a, b in pairs:
        i, j = np.nonzero(pieces.overlap[end[a] : end[a + 1], end[b] : end[b + 1]])
        left.append(i + end[a])
        right.append(j + end[b])
        size.append(len(i))
    for a in alone:
        left.append(np.arange(end[a], end[a + 1]))
        right.append(left[-1])
        size.append(len(left[-1]))
    i, j = np.concatenate(left), np.concatenate(right)
    low, high = np.maximum(pieces.low[i], pieces.low[j]), np.minimum(pieces.high[i], pieces.high[j])
    allow = pieces.allow[i] & pieces.allow[j]
    value = np.where(i == j, pieces.value[i], pieces.value[i] + pieces.value[j])
    # Ranges that meet two by two meet all at once (Helly), so that overlaps of joined pieces follow from their parts.
    both = pieces.overlap[i] & pieces.overlap[j]
    overlap = both[:, i] & both[:, j]
    real = np.logical_and.reduce(low <= high, axis=1)
    for begin, stop in space.parts:
        real &= allow[:, begin:stop].any(axis=1)
    far = np.where(real, space.distance(low, np.maximum(low, high), allow), np.inf)
    begin_at = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.intp)
    made = Pieces(low, high, allow, value, far, begin_at, pieces.base, overlap)
    if real.all():
        return made
    kept = made.keep(real)
    return kept if kept is not None else _nothing(made)


def _nothing(pieces: Pieces) -> Pieces:
    """Return pieces that no sum can be made of, for two groups that share no cell."""
    no = np.full(len(pieces.value), -np.inf)
    return Pieces(
        pieces.low, pieces.high, pieces.allow, no, pieces.distance, pieces.begin, pieces.base, pieces.overlap, pieces.place
    )  # fmt: skip


def _pairs(pieces: Pieces, best: Array) -> tuple[list[tuple[int, int]], list[int]]:
    """Return which groups to join, and which stay alone."""
    assert pieces.overlap is not None
    count = len(pieces.begin)
    size = np.diff(np.append(pieces.begin, len(pieces.value)))
    top = np.maximum.reduceat(pieces.value, pieces.begin)
    together = np.maximum.reduceat(pieces.value + best, pieces.begin, axis=1)
    across = np.add.reduceat(pieces.overlap, pieces.begin, axis=1, dtype=np.int64)
    shared = np.add.reduceat(across, pieces.begin, axis=0)
    a, b = np.triu_indices(count, 1)
    gain = top[a] + top[b] - together[a, b]
    grows = shared[a, b] - size[a] - size[b]
    order = np.argsort(-(gain + 1e-9) / np.sqrt(np.maximum(1, shared[a, b])), kind="stable")
    free, total, pairs = np.ones(count, dtype=bool), len(pieces.value), []
    for q in order.tolist():
        one, two = int(a[q]), int(b[q])
        if free[one] and free[two] and total + grows[q] <= _HELD:
            free[one] = free[two] = False
            total += int(grows[q])
            pairs.append((one, two))
    return pairs, np.flatnonzero(free).tolist()


def _halves(pieces: Pieces, space: Space, floor: float, limit: float) -> list[Pieces | None]:
    """Return both halves of the box of the pieces, cut where it lowers their bounds most; the better half last."""
    feature, cell = _cuts(pieces)
    odd = [(begin, end, v) for begin, end in space.parts for v in range(begin, end) if pieces.allow[:, v].sum() > 0]
    here = np.concatenate([(pieces.low[:, feature] <= cell).T, *(pieces.allow[:, v][None] for _, _, v in odd)])
    there = np.concatenate(
        [(pieces.high[:, feature] > cell).T, *(_others(pieces.allow[:, b:e], v - b)[None] for b, e, v in odd)]
    )
    one = np.maximum.reduceat(np.where(here, pieces.value, -np.inf), pieces.begin, axis=1).sum(axis=1)
    two = np.maximum.reduceat(np.where(there, pieces.value, -np.inf), pieces.begin, axis=1).sum(axis=1)
    whole = pieces.bound - pieces.base
    # A half that cannot reach the floor is as good as gone, however far below it lies.
    most = whole + pieces.base - floor + 1e-9
    lost_one, lost_two = np.minimum(whole - one, most), np.minimum(whole - two, most)
    q = int(np.argmax(np.minimum(lost_one, lost_two) + 0.1 * np.maximum(lost_one, lost_two)))
    low, high = pieces.low.min(axis=0), pieces.high.max(axis=0)
    allow = np.logical_or.reduce(pieces.allow, axis=0)
    low_two, high_one, allow_one, allow_two = low.copy(), high.copy(), allow.copy(), allow.copy()
    if q < len(feature):
        high_one[feature[q]], low_two[feature[q]] = cell[q], cell[q] + 1
    else:
        begin, end, v = odd[q - len(feature)]
        allow_one[begin:end] = False
        allow_one[v] = True
        allow_two[v] = False
    halves = [
        (one[q], cut_to(pieces, space, low, high_one, allow_one, limit)),
        (two[q], cut_to(pieces, space, low_two, high, allow_two, limit)),
    ]
    halves.sort(key=lambda half: half[0])
    return [half for bound, half in halves if bound + pieces.base >= floor]


def _cuts(pieces: Pieces) -> tuple[Cells, Cells]:
    """Return all places where the box of the pieces can be cut: (feature, last cell of the lower half)."""
    feature, cell = [np.zeros(0, dtype=np.intp)], [np.zeros(0, dtype=np.intp)]
    for f in range(pieces.low.shape[1]):
        ends = np.unique(np.concatenate([pieces.high[:, f], pieces.low[:, f] - 1]))
        ends = ends[(ends >= pieces.low[:, f].min()) & (ends < pieces.high[:, f].max())]
        feature.append(np.full(len(ends), f, dtype=np.intp))
        cell.append(ends)
    return np.concatenate(feature), np.concatenate(cell)


def _others(cells: Flags, v: int) -> Flags:
    return np.asarray(np.logical_or.reduce(np.delete(cells, v, axis=1), axis=1), dtype=bool)


__all__ = ["Found", "Rival", "Search"]

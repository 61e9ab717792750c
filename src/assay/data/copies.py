"""Near-copies across a split: rows that lie far closer to a training row than rows of this table do to one another.

What is close, the rows themselves say, twice. A row has a near-copy when its nearest training row lies within a share
of the distance to its tenth nearest that chance would reach once in 10,000 rows, given the dimension that these very
distances have. And the same is counted among training rows, each against the others: a table whose rows resemble one
another by nature does so on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.clock import stream
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

RULE = "near-duplicates"
_NEIGHBOURS = 10
_SPARE = 6
_CHANCE = 1e-4
_WIDEST = 0.5
_REACH = 8.0
_FEW_CATEGORIES = 8
_FEWEST = 50
_MOST_QUERIES = 4_000
_FEWEST_QUERIES = 200
_PRODUCTS = 6_000_000_000
_BLOCK = 4_000_000
_GROUP = 64
_MANY, _SOME = 0.1, 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """How many of the rows that were looked up have a near-copy among the training rows, equal rows left out.

    asked, found: test rows; asked_train, found_train: training rows, each against the others. rows: test rows with one,
    and partners: their nearest training rows. continuous: most features hold numbers that hardly ever repeat.
    """

    asked: int
    found: int
    asked_train: int
    found_train: int
    rows: NDArray[np.intp]
    partners: NDArray[np.intp]
    continuous: bool
    seed: int

    def measures(self) -> tuple[Measure, ...]:
        """Return both shares, with the interval of the sample that was looked up."""
        return tuple(
            Measure(name, k / n, *clopper_pearson(k, n), n, seed=self.seed)
            for name, k, n in (
                ("near_duplicate_test_rows", self.found, self.asked),
                ("near_duplicate_train_rows", self.found_train, self.asked_train),
            )
        )

    def findings(self) -> tuple[Finding, ...]:
        """Return what the shares mean: copies across the split, or rows that are alike on both sides."""
        if not self.found:
            return ()
        across, within = self.measures()
        beyond = across.low > 2.0 * within.high
        severity = Severity.LOW
        if beyond and across.low > _SOME:
            severity = Severity.HIGH if across.estimate > _MANY else Severity.MEDIUM
        elif self.continuous and across.low > _SOME:
            severity = Severity.MEDIUM
        pairs = ", ".join(f"{a} and {b}" for a, b in zip(self.rows[:3], self.partners[:3], strict=True))
        message = (
            f"{across.estimate:.2%} of the test rows are near-copies of training rows ({within.estimate:.2%} within "
            f"training), as in test and training rows {pairs}"
        )
        remedy = "Split by where rows come from (person, device, session) before copying or augmenting any"
        return (Finding(RULE, severity, message, "test", remedy, technique="AML.T0024.000"),)


def near_copies(
    train: Array, test: Array, category: Flags | None = None, *, seed: int = 0, pairs: int = 40_000_000
) -> Copies | None:
    """Return the near-copies between training and test rows, (n, d) and (m, d) in model space; None for too few rows.

    category (d,): columns of codes, which are equal or not. Numbers are scaled by their spread. Every training row is
    compared, in blocks; at most 4,000 rows of each table are looked up, so that about ``pairs`` distances are taken.
    """
    if min(len(train), len(test)) < _FEWEST:
        return None
    space = _Space.of(train, np.zeros(train.shape[1], dtype=bool) if category is None else category, seed)
    if space is None:
        return None
    base = space.place(train)
    most = min(_MOST_QUERIES, pairs // len(train), _PRODUCTS // (len(train) * base.flat.shape[1]))
    most = max(_FEWEST_QUERIES, most)
    chance = stream(seed, "near-copies")
    own = np.sort(chance.permutation(len(train))[:most])
    other = np.sort(chance.permutation(len(test))[:most])
    within, _ = _nearest(base.take(own), base, own)
    across, partner = _nearest(space.place(test[other]), base, None)
    limit = _limit(within)
    if limit is None:
        return None
    near, near_train = _within(across, limit), _within(within, limit)
    return Copies(
        len(other), int(near.sum()), len(own), int(near_train.sum()), other[near], partner[near], space.continuous, seed
    )


def _within(distance: Array, limit: float) -> Flags:
    first, scale = distance[:, 0], distance[:, -1]
    flags: Flags = (first > 0) & (first <= limit * scale)
    return flags


def _limit(within: Array) -> float | None:
    """Return the share of the tenth distance that chance reaches once in 10,000 rows; None where no distance varies.

    Where rows are spread evenly in D dimensions, the fifth distance to the power of D is Beta(5, 5) of the tenth's, of
    which the median is a half; so D is read off the median ratio, which up to four copies of a row do not move. The
    first is below r of the tenth with chance 1 - (1 - r^D)^9.
    """
    fair = within[:, -1] > 0
    ratio = within[fair, _NEIGHBOURS // 2 - 1] / within[fair, -1]
    ratio = ratio[(ratio > 0) & (ratio < 1)]
    if len(ratio) < _FEWEST:
        return None
    dimension = np.log(0.5) / np.log(np.median(ratio))
    share = 1.0 - (1.0 - _CHANCE) ** (1.0 / (_NEIGHBOURS - 1))
    return float(min(_WIDEST, share ** (1.0 / dimension)))


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Rows as points. numbers (n, a): scaled, missing 0; codes (n, b): categories and what is missing; flat (n, w): both.

    Squared distances are those of numbers plus one for each code that differs, in ``flat`` about so.
    """

    numbers: Array
    codes: Array
    flat: NDArray[np.float32]

    def take(self, rows: NDArray[np.intp]) -> _Placed:
        return _Placed(self.numbers[rows], self.codes[rows], self.flat[rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Space:
    """How rows become points. number, code, gaps: columns of numbers, of codes, and those in which values are missing.

    middle, spread: of numbers; sizes: categories of each code, and one more for those that training lacks.
    """

    number: Flags
    code: Flags
    middle: Array
    spread: Array
    gaps: Flags
    sizes: tuple[int, ...]
    seed: int
    continuous: bool

    @classmethod
    def of(cls, train: Array, category: Flags, seed: int) -> _Space | None:
        varies = np.nanmax(np.where(np.isnan(train), -np.inf, train), axis=0) > np.nanmin(
            np.where(np.isnan(train), np.inf, train), axis=0
        )
        number, code = varies & ~category, varies & category
        if not (number | code).any():
            return None
        x = train[:, number]
        low, middle, high = np.nanquantile(x, [0.25, 0.5, 0.75], axis=0) if x.shape[1] else np.empty((3, 0))
        spread = (high - low) / 1.349
        spread = np.where(spread > 0, spread, np.nanstd(x, axis=0))
        rare = [len(np.unique(c[:_MOST_QUERIES])) > 0.5 * len(c[:_MOST_QUERIES]) for c in x.T]
        gaps = np.isnan(train).any(axis=0) & (number | code)
        sizes = tuple(int(c.max()) + 2 for c in _codes(train, code, gaps).T)
        return cls(number, code, middle, spread, gaps, sizes, seed, sum(rare) > 0.5 * int(varies.sum()))

    def place(self, x: Array) -> _Placed:
        numbers = np.clip((x[:, self.number] - self.middle) / self.spread, -_REACH, _REACH)
        numbers = np.nan_to_num(numbers)
        codes = _codes(x, self.code, self.gaps)
        parts = [numbers, *(self._spelt(column, place) for place, column in enumerate(codes.T))]
        return _Placed(numbers, codes, np.column_stack(parts).astype(np.float32))

    def _spelt(self, codes: Array, place: int) -> Array:
        """Return vectors of length 1/sqrt(2), (n, 8), one a category: at right angles where they are few, else at random."""
        size = self.sizes[place]
        known = np.minimum(codes.astype(np.int64), size - 1)
        if size <= _FEW_CATEGORIES:
            table = np.eye(_FEW_CATEGORIES)[:size]
        else:
            table = stream(self.seed, "spelling", place).normal(size=(size, _FEW_CATEGORIES))
            table /= np.linalg.norm(table, axis=1, keepdims=True)
        spelt: Array = table[known] * np.sqrt(0.5)
        return spelt


def _codes(x: Array, code: Flags, gaps: Flags) -> Array:
    """Return categories, from 0 for a missing and 1 for an unseen one, and what is missing, (n, b)."""
    return np.column_stack([np.nan_to_num(x[:, code], nan=-2.0) + 2.0, np.isnan(x[:, gaps])])


def _nearest(queries: _Placed, base: _Placed, own: NDArray[np.intp] | None) -> tuple[Array, NDArray[np.intp]]:
    """Return the distances to the ten nearest rows, rising (q, 10), and the nearest one's number (q,).

    own: where each query stands in ``base``, and is not its own neighbour. Candidates come from the points in single
    precision; distances are then taken again from the rows themselves.
    """
    n, size = len(queries.flat), len(base.flat)
    most = min(_NEIGHBOURS + _SPARE, size - 1)
    # One product gives the squared distance, less that of the query to the origin, which orders nothing.
    points = np.column_stack([base.flat, (base.flat**2).sum(axis=1)]).T
    asked = np.column_stack([-2.0 * queries.flat, np.ones(n, dtype=np.float32)])
    distance, nearest = np.empty((n, _NEIGHBOURS)), np.empty(n, dtype=np.intp)
    step = max(1, _BLOCK // size)
    for start in range(0, n, step):
        part = slice(start, min(n, start + step))
        near = _smallest(asked[part] @ points, most, None if own is None else own[part])
        exact = ((queries.numbers[part, None] - base.numbers[near]) ** 2).sum(axis=2)
        exact += (queries.codes[part, None] != base.codes[near]).sum(axis=2)
        order = np.argsort(exact, axis=1, kind="stable")[:, :_NEIGHBOURS]
        distance[part] = np.sqrt(np.take_along_axis(exact, order, axis=1))
        nearest[part] = near[np.arange(len(near)), order[:, 0]]
    return distance, nearest


def _smallest(score: NDArray[np.float32], most: int, own: NDArray[np.intp] | None) -> NDArray[np.intp]:
    """Return the columns of the ``most`` smallest scores of each row, (q, most), the row's own column left out.

    They lie in the groups of columns with the smallest least scores, so that few columns need to be put in order.
    """
    n, size = score.shape
    if own is not None:
        score[np.arange(n), own] = np.inf
    groups = size // _GROUP
    if groups <= most:
        return np.argpartition(score, most - 1, axis=1)[:, :most]
    least = score[:, : groups * _GROUP].reshape(n, _GROUP, groups).min(axis=1)
    chosen = np.argpartition(least, most - 1, axis=1)[:, :most]
    inside = (chosen[:, :, None] + groups * np.arange(_GROUP)).reshape(n, -1)
    rest = np.broadcast_to(np.arange(groups * _GROUP, size), (n, size - groups * _GROUP))
    columns = np.concatenate([inside, rest], axis=1)
    order = np.argpartition(np.take_along_axis(score, columns, axis=1), most - 1, axis=1)[:, :most]
    return np.take_along_axis(columns, order, axis=1)

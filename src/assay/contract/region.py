r"""The feasible region: the inputs that the person behind a row could really bring about.

Built from the contract's ranges, directions, steps, integers, categories, relations, implications and one-hot
groups. Laws, held by
property tests: ``x0`` is contained; ``contains(project(x, x0), x0)``; ``project`` leaves what is contained and
is idempotent. Everything works on blocks of rows of model space, (n, d), or of samples, (n, \\*shape).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.contract import Contract, Kind, Mutable
from assay.contract.logic import Logic
from assay.contract.repair import repair
from assay.contract.rows import linear, span
from assay.core.errors import ContractError, DataError, SettingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_TOLERANCE = 1e-9
_NORMS = ("l2", "linf", "l1", "l0", "cost")


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """What may change and how far. All arrays are (d,), with d the number of values of one sample.

    base_low, base_high: allowed range (infinite where none). up, down: whether a value may grow, shrink.
    step: grid on which values move from where they are (0: any). whole: only integers are valid.
    category: the value is a code without order, whose change counts 1. scale: one unit of distance; cost: of such a unit.
    weights (m, d), bounds (m,), equal (m,): linear relations ``weights @ x <= bounds`` or ``==``. logic: implications,
    one-hot groups, and the conditions under which relations bind.
    """

    base_low: Array
    base_high: Array
    up: Flags
    down: Flags
    step: Array
    whole: Flags
    category: Flags
    scale: Array
    cost: Array
    weights: Array
    bounds: Array
    equal: Flags
    logic: Logic = field(default_factory=Logic)

    @classmethod
    def of(cls, contract: Contract) -> Region:
        """Return the region of a contract. Raises ContractError for a feature that no model can take (text)."""
        if contract.tensor is not None:
            whole_low = np.full(contract.width, contract.tensor.low)
            return cls.box(whole_low, np.full(contract.width, contract.tensor.high))
        features = contract.features
        for feature in features:
            if feature.kind is Kind.TEXT:
                raise ContractError("a text has no feasible region", where=feature.name, remedy="Give it role: ignore")
        low, high = zip(*map(span, features), strict=True)
        whole = np.array([f.discrete for f in features], dtype=bool)
        step = np.array([1.0 if f.kind in (Kind.CATEGORY, Kind.BOOLEAN) else f.step for f in features])
        weights, bounds, equal = linear(contract)
        return cls(
            base_low=np.array(low, dtype=np.float64),
            base_high=np.array(high, dtype=np.float64),
            up=np.array([f.mutable in (Mutable.UP, Mutable.FREE) for f in features], dtype=bool),
            down=np.array([f.mutable in (Mutable.DOWN, Mutable.FREE) for f in features], dtype=bool),
            step=np.where(whole, np.maximum(1.0, np.ceil(step)), step),
            whole=whole,
            category=np.array([f.kind is Kind.CATEGORY and not f.ordered for f in features], dtype=bool),
            scale=np.array([1.0 if f.kind is Kind.CATEGORY and not f.ordered else f.scale for f in features]),
            cost=np.array([f.cost for f in features]),
            weights=weights,
            bounds=bounds,
            equal=equal,
            logic=Logic.of(contract),
        )

    @classmethod
    def box(cls, low: ArrayLike, high: ArrayLike, *, scale: ArrayLike = 1.0) -> Region:
        """Return the region of values free between ``low`` and ``high``, each (d,). Raises SettingError."""
        lows, highs, scales = (
            np.array(v, dtype=np.float64) for v in np.broadcast_arrays(*map(np.atleast_1d, (low, high, scale)))
        )
        if lows.ndim != 1 or not (lows <= highs).all() or not (scales > 0).all():
            raise SettingError("a box needs low <= high and scale > 0, each one number a feature")
        d = len(lows)
        no, yes, zero, one = np.zeros(d, bool), np.ones(d, bool), np.zeros(d), np.ones(d)
        none = np.zeros(0)
        return cls(lows, highs, yes, yes, zero, no, no, scales, one, np.zeros((0, d)), none, none.astype(bool))

    @property
    def width(self) -> int:
        """Number of values of one sample, d."""
        return len(self.base_low)

    @property
    def mutable(self) -> Flags:
        """Which values may change at all, (d,)."""
        return self.up | self.down

    @property
    def bound(self) -> bool:
        """Whether values depend on one another, by any relation, implication or group."""
        return bool(len(self.bounds) or self.logic.parts)

    def low(self, x0: Array) -> Array:
        """Return the lower bound of each value for rows that start at ``x0``, shape of ``x0``."""
        start = self._rows(x0)
        return np.where(self.down, np.fmin(self.base_low, start), start).reshape(np.shape(x0))

    def high(self, x0: Array) -> Array:
        """Return the upper bound of each value for rows that start at ``x0``, shape of ``x0``."""
        start = self._rows(x0)
        return np.where(self.up, np.fmax(self.base_high, start), start).reshape(np.shape(x0))

    def contains(self, x: Array, x0: Array) -> Flags:
        """Return whether each row of ``x`` can be reached from the same row of ``x0``, (n,)."""
        rows, start = self._pair(x, x0)
        return _near(rows, self.snap(rows, start)).all(axis=1) & self.related(rows, start)

    def project(self, x: Array, x0: Array) -> Array:
        """Return the nearest row found that can be reached from ``x0``, shape of ``x``; ``x`` is left as it is.

        Ranges, directions, steps and categories: nearest in each value. Relations: see ``assay.contract.repair``.
        """
        rows, start = self._pair(x, x0)
        out = self.snap(rows, start)
        if self.bound:
            bad = np.flatnonzero(~self.related(out, start))
            if len(bad):
                out[bad] = repair(self, out[bad], start[bad], rows[bad])
        return out.reshape(np.shape(x))

    def project_around(self, x: Array, x0: Array) -> Array:
        """Return ``project`` of m rows for each of k samples: x (k, m, d), x0 (k, d), result (k, m, d)."""
        start = self._rows(x0)
        if x.shape != (len(start), x.shape[1], self.width):
            raise DataError(f"rows of shape {x.shape} do not surround {len(start)} samples of {self.width} values")
        out = self.snap(x, start[:, None, :])
        if self.bound:
            flat, begin = out.reshape(-1, self.width), np.repeat(start, x.shape[1], axis=0)
            bad = np.flatnonzero(~self.related(flat, begin))
            if len(bad):
                flat[bad] = repair(self, flat[bad], begin[bad], x.reshape(flat.shape)[bad])
        return out

    def sample(self, x0: Array, generator: np.random.Generator, *, spread: float = 10.0) -> Array:
        """Return one random reachable row for each row of ``x0``, uniform in its bounds; (n, ...).

        spread: how far to go, in units of scale, where a value has no bound.
        """
        start = self._rows(x0)
        low = np.maximum(self.low(start), start - 1e300)
        low = np.where(np.isinf(self.base_low) & self.down, start - spread * self.scale, low)
        high = np.where(np.isinf(self.base_high) & self.up, start + spread * self.scale, self.high(start))
        return self.project(low + generator.random(start.shape) * (high - low), start).reshape(np.shape(x0))

    def distance(self, x: Array, x0: Array, norm: str = "l2") -> Array:
        """Return the distance of each row in units of ``scale``, (n,); a changed category counts 1.

        norm: "l2", "linf", "l1", or "l0" (how many values changed). Raises SettingError.
        """
        if norm == "cost":
            return self.price(x, x0)
        change = self._change(*self._pair(x, x0))
        if norm == "l2":
            length: Array = np.sqrt((change**2).sum(axis=1))
        elif norm == "linf":
            length = change.max(axis=1, initial=0.0)
        elif norm == "l1":
            length = change.sum(axis=1)
        elif norm == "l0":
            length = (change > 0).sum(axis=1).astype(np.float64)
        else:
            raise SettingError(f"norm cannot be {norm!r}", remedy=f"Use {', '.join(_NORMS)}")
        return length

    def price(self, x: Array, x0: Array) -> Array:
        """Return what each change costs its maker, (n,): the sum of ``cost`` a unit of scale."""
        total: Array = (self._change(*self._pair(x, x0)) * self.cost).sum(axis=1)
        return total

    def _change(self, rows: Array, start: Array) -> Array:
        same = (rows == start) | (np.isnan(rows) & np.isnan(start))
        delta = np.where(same, 0.0, np.abs(rows - start)) / self.scale
        return np.where(self.category & ~same, 1.0, np.where(np.isnan(delta), np.inf, delta))

    def _rows(self, x: Array) -> Array:
        values = np.asarray(x, dtype=np.float64)
        n = len(values) if values.ndim else 0
        rows = values.reshape(n, -1) if values.size else values.reshape(n, self.width)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise DataError(f"samples of shape {values.shape} do not have {self.width} values each")
        return rows

    def _pair(self, x: Array, x0: Array) -> tuple[Array, Array]:
        rows, start = self._rows(x), self._rows(x0)
        if len(rows) != len(start):
            raise DataError(f"{len(rows)} rows cannot start from {len(start)} rows", remedy="Give one x0 a row")
        return rows, start

    def snap(self, rows: Array, start: Array) -> Array:
        """Return rows with each value by itself within bounds and on its grid; what is missing stays as it was.

        rows: (..., d); start: broadcasts to it.
        """
        low = np.where(self.down, np.fmin(self.base_low, start), start)
        high = np.where(self.up, np.fmax(self.base_high, start), start)
        missing = np.isnan(start)
        holes = missing.any() or np.isnan(rows).any()
        if holes:
            rows = np.where(np.isnan(rows), start, rows)
        out: Array = np.clip(rows, low, high)
        stepped = np.flatnonzero(self.step > 0)
        if len(stepped):
            from_, step = start[..., stepped], self.step[stepped]
            anchor = np.where(self.whole[stepped], np.rint(from_), from_)
            first = np.ceil((low[..., stepped] - anchor) / step - _TOLERANCE)
            last = np.floor((high[..., stepped] - anchor) / step + _TOLERANCE)
            k = np.clip(np.rint((out[..., stepped] - anchor) / step), first, last)
            grid = np.where((first > last) | (k == 0) & (anchor == from_), from_, anchor + k * step)
            out[..., stepped] = np.where(rows[..., stepped] == from_, from_, grid)
        if holes or not self.mutable.all():
            # Where nothing may change, low and high are the start; only what is missing is left to be put back.
            out = np.where(self.mutable & ~missing, out, start)
        return out

    def excess(self, rows: Array, start: Array, *, only: int | None = None) -> Array:
        """Return by how much each linear relation is broken, (n, m), in scaled units; 0 where a value is missing.

        A row that starts outside a relation may stay as far outside as it is. only: the one relation asked for, (n, 1).
        """
        chosen = slice(None) if only is None else slice(only, only + 1)
        weights, bounds, equal = self.weights[chosen], self.bounds[chosen], self.equal[chosen]
        missing = np.isnan(start)
        holes, as_given = bool(missing.any()), (rows, start)
        if holes:
            rows, start = np.nan_to_num(rows), np.nan_to_num(start)
        here, there = rows @ weights.T, start @ weights.T
        limit = np.where(equal, there, np.maximum(bounds, there))
        if self.logic.guarded:
            limit = np.where(self.logic.active(as_given[1])[:, chosen], limit, bounds)
        over = here - limit
        size = np.maximum(1.0, np.abs(rows) @ np.abs(weights).T)
        broken = np.where(equal, np.abs(over), over) > _TOLERANCE * size
        if holes:
            broken &= ~(missing.astype(np.float64) @ (weights != 0).T.astype(np.float64) > 0)
        if self.logic.guarded:
            broken &= self.logic.active(as_given[0])[:, chosen]
        result: Array = np.where(broken, over, 0.0)
        return result

    def related(self, rows: Array, start: Array) -> Flags:
        """Return whether each row keeps every relation, implication and group that its start keeps, (n,)."""
        result: Flags = np.ones(len(rows), dtype=bool)
        if len(self.bounds):
            result &= (self.excess(rows, start) == 0).all(axis=1)
        if self.logic.parts:
            result &= ~(self.logic.broken(rows) & ~self.logic.broken(start)).any(axis=1)
        return result

    def involved(self, rows: Array, start: Array) -> Flags:
        """Return which values each row's broken relations, implications and groups speak of, (n, d)."""
        out: Flags = (self.excess(rows, start) != 0) @ (self.weights != 0)
        for j, guard in enumerate(self.logic.guards):
            if guard:
                out[:, [t.place for t in guard]] |= (self.excess(rows, start)[:, j] != 0)[:, None]
        for part in self.logic.parts:
            out[:, part.places] |= (part.broken(rows) & ~part.broken(start))[:, None]
        return out


def _near(a: Array, b: Array) -> Flags:
    close = np.abs(a - b) <= _TOLERANCE * np.maximum(1.0, np.abs(b))
    result: Flags = close | (a == b) | (np.isnan(a) & np.isnan(b))
    return result

"""Requests against the contract: every row of a block at once, on numpy alone, for the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.contract import Contract, Feature, Kind
from assay.contract.logic import Logic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_MOST_REASONS = 5
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Violations:
    """Which rows meet the contract, ok (n,), and for each row why not (empty when it does, at most five reasons)."""

    ok: Flags
    reasons: list[list[str]]


def span(feature: Feature) -> tuple[float, float]:
    """Return the smallest and largest valid value of a feature in model space, infinite where it has no bound."""
    if feature.kind in (Kind.CATEGORY, Kind.BOOLEAN):
        return 0.0, 1.0 if feature.kind is Kind.BOOLEAN else len(feature.categories) - 1.0
    low, high = feature.low, feature.high
    return -np.inf if low is None else low, np.inf if high is None else high


def linear(contract: Contract) -> tuple[Array, Array, Flags]:
    """Return the linear relations over the features: weights (m, d), bounds (m,), and which are equalities (m,)."""
    place = {f.name: i for i, f in enumerate(contract.features)}
    weights = np.zeros((len(contract.relations), len(place)))
    for i, relation in enumerate(contract.relations):
        for name, weight in relation.weights.items():
            weights[i, place[name]] = weight
    bounds = np.array([r.bound for r in contract.relations])
    return weights, bounds, np.array([r.equal for r in contract.relations], dtype=bool)


class RowRules:
    """A contract compiled to arrays; make one for each served model and use it for every request."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        features = contract.features
        spans = [(contract.tensor.low, contract.tensor.high)] if contract.tensor else [span(f) for f in features]
        low, high = zip(*spans, strict=True)
        self.names = [f.name for f in features] or [contract.name or "input"]
        self.low, self.high = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
        self.category = np.array([f.kind is Kind.CATEGORY for f in features], dtype=bool)
        self.whole = np.array([f.kind in (Kind.INTEGER, Kind.BOOLEAN, Kind.CATEGORY) for f in features], dtype=bool)
        self.optional = np.array([f.max_null > 0 for f in features], dtype=bool)
        self.relations = contract.owed
        self.weights, self.bounds, self.equal = linear(contract)
        self.logic = Logic.of(contract)

    def violations(self, x: Array) -> Violations:
        """Return which rows of model space, (n, d) or (n, *shape), meet the contract, and why others do not."""
        x = np.asarray(x, dtype=np.float64)
        n = len(x) if x.ndim else 0
        wanted = self.contract.tensor.shape if self.contract.tensor else (self.contract.width,)
        if x.shape[1:] != tuple(wanted) or x.ndim == 0:
            why = f"a sample of shape {list(x.shape[1:])} where {list(wanted)} is expected"
            return Violations(np.zeros(n, dtype=bool), [[why] for _ in range(n)])
        return self._tensor(x.reshape(n, -1)) if self.contract.tensor else self._table(x)

    def _tensor(self, x: Array) -> Violations:
        finite: Flags = np.asarray(np.isfinite(x).all(axis=1))
        inside: Flags = np.asarray(((x >= self.low) & (x <= self.high)).all(axis=1))
        ok: Flags = finite & inside
        outside = f"{self.names[0]}: a value outside [{self.low[0]:g}, {self.high[0]:g}]"
        why = [
            [] if k else [outside if f else f"{self.names[0]}: a value is not finite"]
            for k, f in zip(ok, finite, strict=True)
        ]
        return Violations(ok, why)

    def _table(self, x: Array) -> Violations:
        missing = np.isnan(x)
        null, infinite = missing & ~self.optional, np.isinf(x)
        outside = ((x < self.low) | (x > self.high)) & ~infinite
        broken = self.whole & ~infinite & ~missing & (np.floor(x) != x)
        apart = self._apart(x, missing)
        ok = ~((null | infinite | outside | broken).any(axis=1) | apart.any(axis=1))
        reasons: list[list[str]] = [[] for _ in range(len(x))]
        tests = (
            (null, lambda i, _: f"{self.names[i]}: is missing"),
            (infinite, lambda i, _: f"{self.names[i]}: is not finite"),
            (outside, self._outside),
            (broken, lambda i, v: f"{self.names[i]}: {v:g} is not a whole number"),
            (apart, lambda i, _: f"relation {self.relations[i].name or self.relations[i].describe()} is broken"),
        )
        for row in np.flatnonzero(~ok):
            found = [(say, i) for flags, say in tests for i in np.flatnonzero(flags[row])[:_MOST_REASONS]]
            reasons[row] = [say(int(i), x[row, i] if i < x.shape[1] else 0.0) for say, i in found[:_MOST_REASONS]]
        return Violations(ok, reasons)

    def _outside(self, i: int, value: float) -> str:
        if self.category[i]:
            return f"{self.names[i]}: is none of the {int(self.high[i]) + 1} known categories"
        return f"{self.names[i]}: {value:g} is outside [{self.low[i]:g}, {self.high[i]:g}]"

    def _apart(self, x: Array, missing: Flags) -> Flags:
        """Return which relations, implications and groups each row breaks, (n, m); missing values excuse a row."""
        if not self.relations:
            return np.zeros((len(x), 0), dtype=bool)
        values = np.where(np.isfinite(x), x, 0.0)
        over = values @ self.weights.T - self.bounds
        room = _TOLERANCE * np.maximum(1.0, np.abs(values) @ np.abs(self.weights).T)
        applies = ~(missing @ (self.weights != 0).T)
        if self.logic.guarded:
            applies &= self.logic.active(x)
        flags: Flags = applies & np.where(self.equal, np.abs(over) > room, over > room)
        return np.concatenate([flags, self.logic.broken(x)], axis=1)


def violations(contract: Contract, x: Array) -> Violations:
    """Return which rows of model space meet the contract, and why others do not; see ``RowRules``."""
    return RowRules(contract).violations(x)

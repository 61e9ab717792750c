"""Implications, one-hot groups and the conditions of relations, compiled to places of model space.

Missing values meet no condition, and excuse a row from what would have to follow. Nothing here knows where a row
came from: ``assay.contract.region`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.relations import values_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.contract import Contract, Feature
    from assay.contract.relations import Condition

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """A condition on the value at ``place``: within ``low`` to ``high``, and among ``values`` when there are any."""

    place: int
    low: float
    high: float
    values: Array | None = None

    def holds(self, x: Array) -> Flags:
        """Return whether each row of x (n, d) meets it, (n,)."""
        column = x[:, self.place]
        inside: Flags = (column >= self.low) & (column <= self.high)
        return inside if self.values is None else inside & np.isin(column, self.values)

    def nearest(self, column: Array) -> Array:
        """Return the value nearest to each of ``column`` (n,) that meets the condition."""
        if self.values is None:
            return np.clip(column, self.low, self.high)
        fit = self.values[(self.values >= self.low) & (self.values <= self.high)]
        if not len(fit):
            return column
        found: Array = fit[np.abs(column[:, None] - fit).argmin(axis=1)]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled implication. places: the columns that it speaks of."""

    when: tuple[Test, ...]
    then: tuple[Test, ...]
    places: Index

    def broken(self, x: Array) -> Flags:
        """Return which rows of x (n, d) break it, (n,)."""
        applies = held(self.when, x)
        for test in self.then:
            applies &= ~np.isnan(x[:, test.place])
        return applies & ~held(self.then, x)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A compiled one-hot group. optional: none of its columns may be 1."""

    places: Index
    optional: bool

    def broken(self, x: Array) -> Flags:
        """Return which rows of x (n, d) break it, (n,); one with a missing value does not."""
        values = x[:, self.places]
        bits = ((values == 0) | (values == 1)).all(axis=1)
        total = values.sum(axis=1)
        right = bits & ((total == 1) | (self.optional & (total == 0)))
        broken: Flags = ~right & ~np.isnan(values).any(axis=1)
        return broken


@dataclass(frozen=True, slots=True, eq=False)
class Logic:
    """All that is not linear. guards: of each linear relation, what must hold for it to bind."""

    guards: tuple[tuple[Test, ...], ...] = ()
    rules: tuple[Rule, ...] = ()
    groups: tuple[Group, ...] = ()

    @classmethod
    def of(cls, contract: Contract) -> Logic:
        """Return the logic of a contract. Raises ContractError for a condition that its column cannot meet or miss."""
        place = {f.name: i for i, f in enumerate(contract.features)}
        known = {f.name: f for f in contract.features}
        rules = []
        for implication in contract.implications:
            when, then = _tests(implication.when, place, known), _tests(implication.then, place, known)
            rules.append(Rule(when, then, np.unique([t.place for t in (*when, *then)]).astype(np.intp)))
        return cls(
            tuple(_tests(r.when, place, known) for r in contract.relations),
            tuple(rules),
            tuple(Group(np.array([place[c] for c in g.columns], dtype=np.intp), g.optional) for g in contract.one_hot),
        )

    @property
    def guarded(self) -> bool:
        """Whether a linear relation binds under a condition only."""
        return any(self.guards)

    @property
    def parts(self) -> tuple[Rule | Group, ...]:
        """The implications, then the groups."""
        return (*self.rules, *self.groups)

    def active(self, x: Array) -> Flags:
        """Return which linear relations bind each row of x (n, d), (n, m)."""
        out = np.ones((len(x), len(self.guards)), dtype=bool)
        for j, guard in enumerate(self.guards):
            if guard:
                out[:, j] = held(guard, x)
        return out

    def broken(self, x: Array) -> Flags:
        """Return which implications and then which groups each row of x (n, d) breaks, (n, r + g)."""
        out = np.zeros((len(x), len(self.parts)), dtype=bool)
        for j, part in enumerate(self.parts):
            out[:, j] = part.broken(x)
        return out


def held(tests: tuple[Test, ...], x: Array) -> Flags:
    """Return whether each row of x (n, d) meets all tests, (n,)."""
    out = np.ones(len(x), dtype=bool)
    for test in tests:
        out &= test.holds(x)
    return out


def _tests(
    conditions: tuple[Condition, ...], place: Mapping[str, int], known: Mapping[str, Feature]
) -> tuple[Test, ...]:
    out = []
    for condition in conditions:
        low, high = condition.interval()
        values = values_of(condition, known[condition.column])
        out.append(Test(place[condition.column], low, high, np.unique(values) if values else None))
    return tuple(out)

"""Rows that are made up from a contract alone keep its rules."""

from __future__ import annotations

import numpy as np
import pytest

from assay.contract.contract import Contract, Feature, Kind, Mutable
from assay.contract.draw import drawn
from assay.contract.region import Region
from assay.contract.relations import Condition, Implication, OneHot, Relation

COLUMNS = (
    Feature("late", Kind.INTEGER, low=0, high=20),
    Feature("days", Kind.INTEGER, low=0, high=20, step=2),
    Feature("total", Kind.INTEGER, low=0, high=40, mutable=Mutable.NO),
    Feature("rate", Kind.NUMBER, low=-2, high=3, mutable=Mutable.UP),
    Feature("rent", Kind.BOOLEAN),
    Feature("own", Kind.BOOLEAN),
    Feature("colour", Kind.CATEGORY, categories=("r", "g", "b")),
    Feature("share", Kind.NUMBER, low=0, high=1),
    Feature("rest", Kind.NUMBER, low=0, high=1),
)
RULES = {
    "implications": (
        Implication((Condition("late", above=0),), (Condition("days", least=1),)),
        Implication((Condition("rent", one_of=("true",)),), (Condition("colour", one_of=("r", "g")),)),
        Implication((Condition("colour", one_of=("b",)),), (Condition("rate", below=1.0), Condition("late", most=3))),
    ),
    "one_hot": (OneHot(("rent", "own")),),
    "relations": (
        Relation({"late": 1, "days": 1, "total": -1}, 0, equal=True),
        Relation({"share": 1.0, "rest": 1.0}, 1.0, equal=True),
        Relation({"rate": 2.0, "days": -1.0}, 1.0, when=(Condition("colour", one_of=("g",)),)),
        Relation({"rate": 1.0, "share": 1.0}, 0.5),
    ),
}


def region_of(*kinds):
    return Region.of(Contract(columns=COLUMNS, **{k: RULES[k] for k in kinds}))


def kept(region, rows):
    """Return which rows keep ranges and rules, by the region's own word: from a start that excuses nothing."""
    nothing = region.logic.broken(rows).any(axis=1) if region.logic.parts else np.zeros(len(rows), bool)
    over = rows @ region.weights.T - region.bounds
    past = np.where(region.equal, np.abs(over), over) > 1e-6
    if region.logic.guarded:
        past &= region.logic.active(rows)
    inside = (rows >= region.base_low) & (rows <= region.base_high)
    return inside.all(axis=1) & ~nothing & ~past.any(axis=1)


@pytest.mark.parametrize("kinds", [(), ("implications",), ("one_hot",), ("relations",), tuple(RULES)])
def test_rows_keep_ranges_and_rules_and_differ(kinds):
    region = region_of(*kinds)
    rows = drawn(region, 300, 10.0, np.random.default_rng(0))
    assert rows.shape == (300, len(COLUMNS))
    assert kept(region, rows).all()
    assert (rows[:, region.whole] == np.rint(rows[:, region.whole])).all()
    assert len(np.unique(rows, axis=0)) > 250
    assert (np.ptp(rows, axis=0) > 0).all()


def test_open_ranges_reach_as_far_as_is_said():
    region = Region.box([0, -np.inf, 0], [9, 3, np.inf], scale=[1, 2, 1])
    rows = drawn(region, 200, 10.0, np.random.default_rng(0))
    assert rows.shape == (200, 3)
    assert np.isfinite(rows).all()
    assert (rows >= region.base_low).all()
    assert (rows <= region.base_high).all()


def test_where_few_rows_keep_the_rules_the_rest_is_brought_to_them():
    # A sum that random rows hardly ever have, of values that are mended one at a time.
    names = [f"c{i}" for i in range(12)]
    columns = tuple(Feature(n, Kind.INTEGER, low=0, high=1) for n in names)
    region = Region.of(Contract(columns=columns, relations=(Relation(dict.fromkeys(names, 1.0), 1.0),)))
    rows = drawn(region, 100, 1.0, np.random.default_rng(1))
    assert rows.shape == (100, 12)
    assert (rows.sum(axis=1) <= 1).all()


def test_what_cannot_be_is_drawn_from_the_ranges_all_the_same():
    columns = (Feature("a", Kind.NUMBER, low=0, high=1), Feature("b", Kind.NUMBER, low=0, high=1))
    region = Region.of(Contract(columns=columns, relations=(Relation({"a": 1.0, "b": 1.0}, -1.0),)))
    rows = drawn(region, 7, 1.0, np.random.default_rng(2))
    assert rows.shape == (7, 2)
    assert ((rows >= 0) & (rows <= 1)).all()


def test_the_same_seed_makes_the_same_rows():
    region = region_of(*RULES)
    one, two = (drawn(region, 50, 10.0, np.random.default_rng(3)) for _ in range(2))
    assert one.tobytes() == two.tobytes()

"""Evasion of trees by their holder: valid rows, within budget, no farther than the exact distance where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb
from sklearn.ensemble import RandomForestClassifier

from assay.assessment.certificates.tree_exact import TreeExact, TreeSolver
from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.evasion.tree_evasion import TreeEvasion
from assay.contract.contract import Contract, Feature, Kind, Mutable, Relation, Target
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import DataError
from assay.models.predictor import predictor
from assay.models.trees import read_trees

COLUMNS = (
    Feature("a", Kind.NUMBER, low=-4, high=4, scale=2.0),
    Feature("up", Kind.NUMBER, low=-4, high=4, mutable=Mutable.UP),
    Feature("count", Kind.INTEGER, low=0, high=9),
    Feature("code", Kind.CATEGORY, categories=("x", "y", "z")),
    Feature("fixed", Kind.NUMBER, low=-4, high=4, mutable=Mutable.NO),
)
REGION = Region.of(Contract(Target("y", ("0", "1", "2")), COLUMNS))
TIED = Region.of(Contract(Target("y", ("0", "1", "2")), COLUMNS, relations=(Relation({"a": 1.0, "up": 1.0}, 1.0),)))


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    x = np.column_stack(
        [rng.normal(size=(300, 2)).clip(-4, 4), rng.integers(0, 10, 300), rng.integers(0, 3, 300), rng.normal(size=300)]
    )
    score = x[:, 0] + x[:, 1] + 0.2 * x[:, 2] + (x[:, 3] == 1)
    y = np.digitize(score, np.quantile(score, [0.4, 0.7]))
    return xgb.XGBClassifier(n_estimators=20, max_depth=4, n_jobs=1).fit(x, y), x, y


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_rows_are_valid_and_as_near_as_the_certificate_says(case, norm):
    model, x, _ = case
    asked = predictor(model)
    said = asked.labels(x[:12])
    result = TreeEvasion(read_trees(model), norm=norm, seconds=5.0)(asked, x[:12], said, REGION)
    exact = TreeExact(norm=norm, seconds=5.0)(asked, x[:12], said, REGION)
    assert REGION.contains(result.x_adv, x[:12]).all()
    assert (result.queries <= 200).all()
    assert np.array_equal(result.success, np.isfinite(exact.upper))
    assert result.distance == pytest.approx(exact.upper)
    assert (asked.labels(result.x_adv) != said)[result.success].all()


def test_a_target_is_met(case):
    model, x, _y = case
    asked = predictor(model)
    targets = (asked.labels(x[:12]) + 1) % 3
    result = TreeEvasion(read_trees(model), seconds=5.0)(asked, x[:12], asked.labels(x[:12]), REGION, targets=targets)
    assert result.success.any()
    assert (asked.labels(result.x_adv) == targets)[result.success].all()


def test_relations_hold_in_what_is_found(case):
    model, x, _ = case
    asked = predictor(model)
    result = TreeEvasion(read_trees(model))(asked, x[:12], asked.labels(x[:12]), TIED)
    assert TIED.contains(result.x_adv, x[:12]).all()
    assert result.success.any()


def test_a_hard_forest_is_evaded_greedily():
    rng = np.random.default_rng(1)
    x = rng.random((400, 12))
    y = (x.sum(axis=1) + rng.normal(0, 0.4, 400) > 6).astype(int)
    model = RandomForestClassifier(100, max_depth=7, random_state=0).fit(x, y)
    asked, region = predictor(model), Region.box(np.zeros(12), np.ones(12))
    said = asked.labels(x[:8])
    for norm in ("linf", "l2"):
        solver = TreeSolver.of(read_trees(model), asked, region, norm=norm)
        found = [solver.solve(row, int(label), seconds=1e-6) for row, label in zip(x[:8], said, strict=True)]
        rows = [i for i, f in enumerate(found) if f.row is not None]
        assert len(rows) >= 6
        for i in rows:
            assert asked.labels(found[i].row[None])[0] != said[i]
            assert region.distance(found[i].row[None], x[i][None], norm)[0] == pytest.approx(found[i].upper)
            assert found[i].lower <= found[i].upper


def test_it_is_not_discovered_and_refuses_other_trees(case):
    model, x, y = case
    assert not any(issubclass(part, TreeEvasion) for part in discover(EvasionAttack).values())
    with pytest.raises(DataError):
        TreeEvasion(read_trees(model))(
            predictor(lambda r: (r[:, 0] > 0).astype(int), classes=2), x[:2], y[:2] % 2, REGION
        )

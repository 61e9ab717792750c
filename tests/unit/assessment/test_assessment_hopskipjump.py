"""HopSkipJump's laws: what it returns is feasible, real, within budget and the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier

from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.contract.contract import Contract, Feature, Kind, Mutable, Relation, Target
from assay.contract.region import Region
from assay.core.errors import BudgetError, DataError, SettingError
from assay.core.settings import settings_of
from assay.models.predictor import predictor

CONTRACT = Contract(
    target=Target("y", ("0", "1")),
    columns=(
        Feature("a", Kind.NUMBER, low=-4, high=4),
        Feature("b", Kind.NUMBER, low=-4, high=4, mutable=Mutable.UP),
        Feature("n", Kind.INTEGER, low=0, high=9, step=1),
        Feature("c", Kind.CATEGORY, categories=("x", "y", "z")),
        Feature("fixed", Kind.NUMBER, low=-4, high=4, mutable=Mutable.NO),
    ),
    relations=(Relation({"a": 1.0, "b": -1.0}, 6.0),),
)
REGION = Region.of(CONTRACT)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    n = 300
    x = np.column_stack(
        [
            rng.normal(size=(n, 2)).clip(-4, 4),
            rng.integers(0, 10, n),
            rng.integers(0, 3, n),
            rng.normal(size=n).clip(-4, 4),
        ]
    )
    y = (x[:, 0] + 0.2 * x[:, 2] + (x[:, 3] == 1) > 1.2).astype(int)
    return GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, y), x, y


def test_what_is_returned_is_feasible_and_really_wrong(case):
    model, x, y = case
    found = HopSkipJump(max_queries=300)(predictor(model), x[:60], y[:60], REGION)
    assert found.success[~found.already_wrong].mean() > 0.95
    assert REGION.contains(found.x_adv, x[:60]).all()
    assert (model.predict(found.x_adv[found.success]) != y[:60][found.success]).all()
    assert np.array_equal(found.x_adv[~found.success], x[:60][~found.success])
    assert np.allclose(REGION.distance(found.x_adv, x[:60])[found.success], found.distance[found.success])


@settings(max_examples=12, deadline=None)
@given(limit=st.integers(10, 150), seed=st.integers(0, 99))
def test_the_budget_is_never_overrun(case, limit, seed):
    model, x, y = case
    asked = predictor(model)
    found = HopSkipJump(max_queries=limit)(asked, x[:20], y[:20], REGION, seed=seed)
    assert found.queries.max() <= limit
    assert asked.queries == found.queries.sum()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_same_seed_gives_the_same_rows_and_inputs_are_left_alone(case, norm):
    model, x, y = case
    kept = x[:20].copy()
    first, second = (
        HopSkipJump(max_queries=200, norm=norm)(predictor(model), x[:20], y[:20], REGION, seed=5) for _ in range(2)
    )
    assert np.array_equal(first.x_adv, second.x_adv)
    assert np.array_equal(x[:20], kept)


def test_more_queries_come_closer(case):
    model, x, y = case
    few, many = (HopSkipJump(max_queries=q)(predictor(model), x[:60], y[:60], REGION) for q in (60, 1500))
    both = few.success & many.success
    assert np.median(many.distance[both]) < np.median(few.distance[both])


def test_a_constant_model_cannot_be_evaded(case):
    _, x, _ = case
    constant = predictor(lambda rows: np.tile([1.0, 0.0], (len(rows), 1)), classes=2)
    found = HopSkipJump(max_queries=100)(constant, x[:10], np.zeros(10, int), REGION)
    assert not found.success.any()
    assert np.isinf(found.distance).all()


def test_rows_that_are_wrong_already_are_left_alone(case):
    model, x, _y = case
    found = HopSkipJump(max_queries=50)(predictor(model), x[:10], 1 - model.predict(x[:10]), REGION)
    assert found.already_wrong.all()
    assert not found.success.any()
    assert (found.queries == 1).all()


def test_nothing_mutable_means_no_success(case):
    model, x, y = case
    frozen = Region.of(
        replace(CONTRACT, relations=(), columns=tuple(replace(c, mutable=Mutable.NO) for c in CONTRACT.columns))
    )
    assert not HopSkipJump(max_queries=50)(predictor(model), x[:10], y[:10], frozen).success.any()


def test_a_spent_predictor_stops_the_attack(case):
    model, x, y = case
    with pytest.raises(BudgetError):
        HopSkipJump(max_queries=100)(predictor(model, budget=150), x[:20], y[:20], REGION)


def test_images_are_attacked_in_their_shape():
    def bright(images):
        assert images.shape[1:] == (1, 4, 4)
        share = np.clip(images.mean(axis=(1, 2, 3)), 0, 1)
        return np.stack([1 - share, share], axis=1)

    images = np.full((3, 1, 4, 4), 0.3)
    found = HopSkipJump(max_queries=300)(
        predictor(bright, classes=2), images, np.zeros(3, int), Region.box(np.zeros(16), np.ones(16))
    )
    assert found.success.all()
    assert found.x_adv.shape == images.shape


@pytest.mark.parametrize("shapes", [((5,), (5,)), ((5, 5), (4,)), ((5, 4), (5,))])
def test_shapes_that_do_not_agree_are_refused(case, shapes):
    with pytest.raises(DataError):
        HopSkipJump()(predictor(case[0]), np.zeros(shapes[0]), np.zeros(shapes[1], int), REGION)


@pytest.mark.parametrize("name", settings_of(HopSkipJump))
def test_settings_out_of_range_are_refused(name):
    for value in settings_of(HopSkipJump)[name].constraint.invalid():
        with pytest.raises(SettingError):
            HopSkipJump(**{name: value})

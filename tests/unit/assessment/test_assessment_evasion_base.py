"""The base of evasion attacks: margins, targets, radius, shares of a budget, gradients counted as queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.contract.region import Region
from assay.core.errors import BudgetError, DataError, UnsupportedError
from assay.core.settings import OneOf, Within, setting
from assay.models.predictor import predictor
from assay.testing.attacks import Threshold

REGION = Region.box([-9.0] * 2, [9.0] * 2)
X = np.array([[1.0, 0.5], [-1.0, 2.0], [0.5, -3.0]])


def three(x):
    raised = np.exp(np.stack([x[:, 0], x[:, 1], -x[:, 0] - x[:, 1]], axis=1))
    return raised / raised.sum(axis=1, keepdims=True)


def oracle_of(model, x, y, **options):
    return Oracle(model, x, y, REGION, **{"limit": 50, "norm": "l2", "shape": (2,), **options})


@pytest.mark.parametrize("targets", [None, np.array([2, 2, 0])])
def test_margins_agree_with_wrong_and_keep_the_closest(targets):
    model, rows = predictor(three, classes=3), np.random.default_rng(0).normal(size=(30, 2)) * 3
    y, owner = predictor(three, classes=3).labels(X), np.arange(30) % 3
    asked, plain = (oracle_of(model, X, y, targets=targets) for _ in range(2))
    margin, wrong = asked.margins(rows, owner), plain.wrong(rows, owner)
    assert ((margin < 0) == wrong).all()
    assert np.array_equal(asked.best, plain.best)
    assert np.array_equal(asked.distance, plain.distance)
    assert (asked.spent == 10).all()
    share = three(rows)
    if targets is None:
        others = np.where(np.arange(3) == y[owner][:, None], -1, share).max(axis=1)
        assert margin == pytest.approx(share[np.arange(30), y[owner]] - others)
    assert asked.scores(rows[:1], owner[:1])[0] == pytest.approx(share[0])


def test_rows_beyond_the_radius_are_wrong_but_not_kept():
    model = Threshold((1.0, 0.0))
    asked = oracle_of(model, X[:1], np.array([1]), radius=1.5)
    rows, owner = np.array([[-2.0, 0.5], [-0.5, 0.5], [-0.4, 0.5]]), np.zeros(3, dtype=int)
    assert asked.wrong(rows, owner).all()
    assert asked.distance[0] == pytest.approx(1.4)
    assert asked.best[0] == pytest.approx([-0.4, 0.5])


def test_a_share_of_the_budget_ends_with_its_block():
    asked = oracle_of(Threshold((1.0, 0.0)), X, np.array([1, 0, 1]))
    with asked.share(5):
        assert (asked.left == 5).all()
        asked.wrong(X[:1], np.array([0]))
        with asked.share(100):
            assert asked.left.tolist() == [4, 5, 5]
        assert len(asked.unbroken(np.arange(3))) == 3
    assert asked.left.tolist() == [49, 50, 50]


def test_gradients_count_as_queries_within_the_hard_budget():
    model = Threshold((1.0, -2.0))
    asked = oracle_of(model, X, np.array([1, 0, 1]), limit=2)
    white, owner = asked.white_box(), np.arange(3)
    logits, slope = asked.pull(white, X, owner, lambda logits: np.tile([0.0, 1.0], (len(logits), 1)))
    assert slope == pytest.approx(np.tile([0.5, -1.0], (3, 1)))
    assert asked.logits(white, X, owner) == pytest.approx(logits)
    assert model.queries == 6
    with pytest.raises(BudgetError):
        asked.pull(white, X, owner, lambda logits: logits)
    with pytest.raises(BudgetError):
        asked.logits(white, X, owner)
    assert model.queries == 6
    assert np.isinf(asked.distance).all()


def test_a_model_without_gradients_says_so():
    with pytest.raises(UnsupportedError, match="no gradients"):
        oracle_of(predictor(three, classes=3), X, np.zeros(3, dtype=int)).white_box()


def test_the_number_of_changed_values_is_a_distance():
    region = Region.box([-9.0] * 3, [9.0] * 3, scale=[1.0, 5.0, 2.0])
    moved = np.array([[0.0, 1e-7, -3.0], [0.0, 0.0, 0.0]])
    assert region.distance(moved, np.zeros((2, 3)), "l0").tolist() == [2.0, 0.0]


@dataclass(frozen=True, slots=True)
class Walk(EvasionAttack):
    max_queries: int = setting(60, Within(10, None), "Hard budget.")
    norm: str = setting("l2", OneOf(("l2", "linf")), "Distance.")
    radius: float | None = setting(None, Within(0, None, optional=True), "Most distance.")

    def search(self, oracle, live, first, generator):
        for _ in range(40):
            oracle.margins(oracle.region.sample(oracle.x0[live], generator), live)


def test_targets_and_radius_reach_the_search():
    model = predictor(three, classes=3)
    y = model.labels(X)
    wanted = (y + 1) % 3
    found = Walk()(model, X, y, REGION, targets=wanted)
    assert found.success.all()
    assert (model.labels(found.x_adv) == wanted).all()
    assert not Walk(radius=1e-3)(model, X, y, REGION).success.any()
    already = Walk()(model, X, (y + 1) % 3, REGION, targets=y)
    assert already.already_wrong.all()
    assert (already.queries == 1).all()
    assert not already.success.any()


@pytest.mark.parametrize("targets", [np.array([0]), np.array([3, 3, 3]), np.array([-1, 0, 0])])
def test_targets_that_name_no_class_are_refused(targets):
    model = predictor(three, classes=3)
    with pytest.raises(DataError, match="another class"):
        Walk()(model, X, model.labels(X), REGION, targets=targets)

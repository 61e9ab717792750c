"""Robust boosted trees: scikit-learn's checks, the bound that they are trained on, and more certified rows than without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from assay.assessment.certificates.tree_exact import TreeExact
from assay.core.errors import SettingError
from assay.models.predictor import predictor
from assay.models.trees import check_agreement, read_trees
from assay.training.robust.boosted import RobustBoostedTrees
from assay.training.robust.growing import Growth, Reach, grow, worst

FEW = RobustBoostedTrees(n_estimators=5, max_depth=2, max_bins=16)


@parametrize_with_checks([FEW])
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))
    return train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)


def test_more_rows_are_certified_than_without(cancer):
    a, b, c, d = cancer
    shares = {}
    for epsilon in (0.0, 0.1):
        model = RobustBoostedTrees(epsilon=epsilon, n_estimators=40).fit(a, c)
        result = TreeExact(seconds=1.0)(predictor(model), b[:50], d[:50])
        shares[epsilon] = result.certified(0.1).mean(), model.score(b, d)
    assert shares[0.1][0] > shares[0.0][0] + 0.1
    assert shares[0.1][1] > 0.88
    assert shares[0.0][1] > 0.93


def test_the_worst_leaf_is_no_better_than_any_move_within_epsilon(cancer):
    a, _, c, _ = cancer
    rng, positive, reach = np.random.default_rng(0), c == 1, np.full(a.shape[1], 0.05)
    nodes = grow(Reach.of(a, reach, 32), positive, 0.5 - positive, np.full(len(a), 0.25), Growth(4, 1.0, 1.0))

    def value(row):
        node = nodes[0]
        while node.feature >= 0:
            node = nodes[node.left if row[node.feature] <= node.cut else node.right]
        return node.value

    low = worst(nodes, positive)
    assert len(nodes) > 7
    for i in range(0, len(a), 7):
        moved = a[i] + rng.choice([-1.0, 0.0, 1.0], (40, a.shape[1])) * reach
        values = np.array([value(row) for row in moved])
        assert (values >= low[i] - 1e-12).all() if positive[i] else (values <= low[i] + 1e-12).all()


def test_without_an_adversary_it_is_ordinary_boosting():
    x, y = make_classification(400, 8, random_state=0)
    assert RobustBoostedTrees(epsilon=0.0, n_estimators=30).fit(x, y).score(x, y) > 0.97


def test_it_is_read_as_trees_and_made_the_same_again():
    x, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    model = RobustBoostedTrees(epsilon=0.05, scale=x.std(axis=0), n_estimators=8).fit(x, y)
    check_agreement(read_trees(model), predictor(model), x)
    again = clone(model).fit(x, y)
    assert np.array_equal(again.decision_function(x), model.decision_function(x))
    assert model.predict_proba(x).shape == (300, 3)


def test_values_that_cannot_be_moved_may_be_trusted():
    rng = np.random.default_rng(0)
    x, y = rng.random((400, 2)), rng.integers(0, 2, 400)
    x[:, 0] = 0.5 * y + 0.2 + 0.01 * rng.random(400)
    x[:, 1] = y + 0.01 * rng.random(400)
    moved = RobustBoostedTrees(epsilon=1.0, scale=[1.0, 0.0], n_estimators=5).fit(x, y)
    used = set(moved.trees_.feature[moved.trees_.feature >= 0].tolist())
    assert used == {1}


@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon": -0.1}, {"epsilon": float("nan")}, {"n_estimators": 0}, {"max_depth": 0}, {"max_bins": 1},
        {"learning_rate": 0.0}, {"l2": -1.0}, {"scale": [1.0, 2.0]}, {"scale": [-1.0, 1, 1, 1]},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    x, y = make_classification(50, 4, random_state=0)
    with pytest.raises(SettingError):
        RobustBoostedTrees(**settings).fit(x, y)

"""Score- and decision-based attacks beside what they should do on images, trees and spent budgets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.fft import dct
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

from assay.assessment.evasion.boundary import Boundary
from assay.assessment.evasion.nes import NES
from assay.assessment.evasion.odds import log_margins
from assay.assessment.evasion.planes import Planes
from assay.assessment.evasion.simba import SimBA
from assay.assessment.evasion.square import Square
from assay.assessment.evasion.transfer import Transfer
from assay.assessment.evasion.zoo import ZOO
from assay.contract.region import Region
from assay.core.errors import DataError
from assay.models.function import Function
from assay.models.predictor import predictor

ATTACKS = (
    Square(radius=0.15, max_queries=300),
    NES(radius=0.3, max_queries=300),
    SimBA(max_queries=300),
    ZOO(max_queries=300),
    Boundary(max_queries=300),
    Transfer(max_queries=200),
)


@pytest.fixture(scope="module")
def trees():
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    model = GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0).fit(x[:400], y[:400])
    right = np.flatnonzero(model.predict(x[400:]) == y[400:])[:10] + 400
    return model, x[right], y[right]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_boosted_trees_are_evaded_within_the_budget(trees, attack):
    model, x, y = trees
    found = attack(predictor(model), x, y, Region.box(np.zeros(30), np.ones(30)))
    assert found.queries.max() <= attack.max_queries
    assert found.success.mean() >= 0.6
    assert (model.predict(found.x_adv)[found.success] != y[found.success]).all()
    assert np.isfinite(found.distance[found.success]).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
@pytest.mark.parametrize("spent", [40, 41, 47, 61])
def test_any_budget_is_hard(trees, attack, spent):
    model, x, y = trees
    small = dataclasses.replace(attack, max_queries=spent)
    asked = predictor(model)
    found = small(asked, x, y, Region.box(np.zeros(30), np.ones(30)))
    assert found.queries.max() <= spent
    assert asked.queries == found.queries.sum()


@pytest.mark.parametrize(
    "attack", [Square(radius=0.2), Square(radius=2.0, norm="l2"), NES(radius=0.2), SimBA(basis="dct", step=0.5)]
)
@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (8, 8, 3)])
def test_images_of_either_layout_are_attacked_in_the_ball(attack, shape):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=int(np.prod(shape)))

    def answer(rows):
        assert rows.shape[1:] == shape
        share = 1 / (1 + np.exp(-(rows.reshape(len(rows), -1) @ weights) * 0.2))
        return np.stack([1 - share, share], axis=1)

    x = rng.uniform(0.3, 0.7, (6, *shape))
    y = predictor(answer, classes=2).labels(x)
    found = attack(predictor(answer, classes=2), x, y, Region.box(np.zeros(weights.size), np.ones(weights.size)))
    assert found.success.mean() > 0.5
    if attack.radius is not None:
        assert (found.distance[found.success] <= attack.radius * (1 + 1e-9)).all()


def test_waves_need_an_image(trees):
    model, x, y = trees
    with pytest.raises(DataError, match="no waves"):
        SimBA(basis="dct")(predictor(model), x, y, Region.box(np.zeros(30), np.ones(30)))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((5, 7), (5, 7, 1)), ((3, 5, 7), (5, 7, 3)), ((5, 7, 3), (5, 7, 3)), ((9, 5, 7), (5, 7, 9))],
)
def test_planes_tell_rows_columns_and_channels(shape, size):
    planes = Planes.of(shape)
    assert (planes.height, planes.width, planes.channels) == size
    inside = planes.window(np.array([1]), np.array([2]), 2)[0]
    assert inside.sum() == 4 * size[2]
    assert set(planes.row[inside]) == {1, 2}
    assert set(planes.column[inside]) == {2, 3}


def test_a_table_has_no_planes():
    assert Planes.of((5,)) is None
    assert Planes.of((2, 3, 4, 5)) is None


@pytest.mark.parametrize("shape", [(28, 20), (3, 24, 30), (24, 30, 3), (5, 4)])
def test_smooth_images_hold_low_frequencies_only(shape):
    planes = Planes.of(shape)
    images = planes.smooth(6, np.random.default_rng(0))
    assert images.shape == (6, np.prod(shape))
    assert images.tobytes() == planes.smooth(6, np.random.default_rng(0)).tobytes()
    for c in range(planes.channels):
        plane = np.zeros((6, planes.height, planes.width))
        own = planes.channel == c
        plane[:, planes.row[own], planes.column[own]] = images[:, own]
        for axis, size in ((1, planes.height), (2, planes.width)):
            waves = np.abs(dct(plane, axis=axis, norm="ortho"))
            low = min(size, max(7, -(-size // 3)))
            assert np.take(waves, range(low), axis=axis).max() > 0.1
            assert np.take(waves, range(low, size), axis=axis).max(initial=0.0) < 1e-9


def test_odds_tell_sure_answers_apart():
    """Probabilities that round to 1.0 still differ in what is left for the other class."""
    from assay.assessment.evasion.base import Oracle

    def answer(rows):
        share = 10.0 ** -(20.0 + rows[:, 0])
        return np.stack([1 - share, share], axis=1)

    x = np.array([[0.0], [1.0]])
    oracle = Oracle(Function(answer, 2), x, np.zeros(2, int), Region.box([-9], [9]), limit=9, norm="l2", shape=(1,))
    first, second = log_margins(oracle, x, np.arange(2))
    assert 40 < first < second


def test_a_forest_of_certain_answers_has_finite_odds(trees):
    found = Square(max_queries=40)(
        Function(lambda rows: np.eye(2)[np.zeros(len(rows), int)], 2), trees[1][:2], np.zeros(2, int), Region.box(np.zeros(30), np.ones(30))
    )  # fmt: skip
    assert not found.success.any()


def test_a_surrogate_that_is_wrong_costs_no_more_than_the_budget(trees):
    """What turns the copy and not the model is no success."""
    _, x, _ = trees
    rng = np.random.default_rng(1)
    noise = Function(lambda rows: np.eye(2)[(rng.random(len(rows)) < 0.0).astype(int)], 2)
    found = Transfer(max_queries=150)(noise, x[:3], np.zeros(3, int), Region.box(np.zeros(30), np.ones(30)))
    assert not found.success.any()
    assert found.queries.max() <= 150

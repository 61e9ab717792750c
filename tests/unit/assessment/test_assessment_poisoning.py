"""Flipped labels cost what they should, clean ones nothing, and the choice of rows is nested and repeatable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.poisoning.base import PoisoningAttack
from assay.assessment.poisoning.label_flip import LabelFlip
from assay.core.discovery import discover
from assay.core.errors import DataError, SettingError
from assay.core.settings import settings_of
from assay.models.refit import LocalRefit

X, Y = make_classification(1400, 10, n_informative=5, weights=[0.8], random_state=0)
HALF = 700


def poison(attack, estimator=None, *, seed=0, classes=2, data=None):
    x, y = data or (X, Y)
    half = len(x) // 2
    refit = LocalRefit(estimator or DecisionTreeClassifier(max_depth=12), classes)
    return attack(refit, x[:half], y[:half], x[half:], y[half:], seed=seed)


class Recorded:
    """A refit whose models answer what they are told and which remembers what it was asked."""

    def __init__(self, answers):
        self.answers, self.sets, self.calls = answers, None, 0

    def probabilities(self, sets, x, queries, *, seed):
        self.sets, self.calls = sets, self.calls + 1
        return np.stack([self.answers] * len(sets))


def test_label_flip_is_found():
    assert discover(PoisoningAttack)["label_flip"] is LabelFlip
    assert LabelFlip.techniques == ("AML.T0020",)


def test_flipped_labels_cost_a_deep_tree_its_rank():
    result = poison(LabelFlip(shares=(0.0, 0.05, 0.3)))
    small, large = result.measures
    assert large.name == "poisoning.auc_drop@flip0.3,label_flip"
    assert large.low > 0.05
    assert large.estimate > small.estimate
    assert result.shares.tolist() == [0.0, 0.05, 0.3]
    assert large.estimate == pytest.approx(result.auc[0] - result.auc[2])
    assert large.threat_model


def test_next_to_nothing_flipped_costs_nothing():
    (drop,) = poison(LabelFlip(shares=(0.0, 0.001)), LogisticRegression()).measures
    assert drop.low <= 0.0 <= drop.high
    assert abs(drop.estimate) < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_models_that_differ_by_chance_alone_show_no_loss(seed):
    class Chance:
        def probabilities(self, sets, x, queries, *, seed):
            rng = np.random.default_rng(seed)
            scores = 0.4 * Y[HALF:] + rng.random((len(sets), len(queries)))
            return np.stack([1.4 - scores, scores], axis=2) / 1.4

    for m in LabelFlip()(Chance(), X[:HALF], Y[:HALF], X[HALF:], Y[HALF:], seed=seed).measures:
        assert m.low - 0.005 <= 0.0 <= m.high + 0.005


def test_equal_models_lose_exactly_nothing():
    refit = Recorded(np.random.default_rng(0).dirichlet([1, 1], len(X) - HALF))
    result = LabelFlip()(refit, X[:HALF], Y[:HALF], X[HALF:], Y[HALF:], seed=0)
    assert np.allclose([(m.low, m.estimate, m.high) for m in result.measures], 0.0, atol=1e-12)
    assert refit.calls == 1
    assert len(refit.sets) == 5 * 3


def test_many_classes_are_averaged():
    x, y = load_digits(return_X_y=True)
    attack = LabelFlip(shares=(0.1, 0.4), repeats=2)
    result = poison(attack, DecisionTreeClassifier(), classes=10, data=(x[:800], y[:800]))
    assert result.shares.tolist() == [0.0, 0.1, 0.4]  # the clean fit is added
    assert result.measures[1].low > 0.05


def test_the_clean_fit_sees_clean_labels():
    refit = Recorded(np.random.default_rng(0).dirichlet([1, 1], len(X) - HALF))
    LabelFlip(shares=(0.1,), repeats=2)(refit, X[:HALF], Y[:HALF], X[HALF:], Y[HALF:], seed=0)
    for rows, labels in refit.sets[:2]:
        assert np.array_equal(rows, np.arange(HALF))
        assert np.array_equal(labels, Y[:HALF])
    first, second = (np.flatnonzero(labels != Y[:HALF]) for _, labels in refit.sets[2:])
    assert len(first) == len(second) == 70
    assert not np.array_equal(first, second)


@given(st.integers(0, 2**32), st.integers(2, 6), st.floats(0, 0.95), st.floats(0, 0.95), st.booleans())
@hypothesis_settings(max_examples=60, deadline=None)
def test_smaller_shares_are_part_of_larger_ones(seed, classes, one, other, targeted):
    y = np.r_[0, 1, np.random.default_rng(seed).integers(0, classes, 60)]
    kept, attack = y.copy(), LabelFlip(targeted=targeted)
    small, large = (attack.poison(y, share, classes, np.random.default_rng(seed))[1] for share in sorted((one, other)))
    changed = small != y
    assert np.array_equal(small[changed], large[changed])
    assert changed.sum() <= (large != y).sum()
    assert set(np.unique(large)) <= set(range(classes))
    assert np.array_equal(y, kept)
    if not targeted:
        assert (large != y).sum() == round(max(one, other) * len(y))


def test_targeted_flips_take_the_rarest_class_to_the_commonest():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    _, labels = LabelFlip(targeted=True).poison(y, 0.5, 3, np.random.default_rng(0))
    changed = labels != y
    assert changed.sum() == 10
    assert set(y[changed]) == {2}
    assert set(labels[changed]) == {0}
    assert LabelFlip(targeted=True).title == "label_flip_targeted"


def test_the_curve_encloses_what_is_measured():
    result = poison(LabelFlip(shares=(0.0, 0.1, 0.3)))
    (line,) = result.curve.series
    assert result.curve.goal == "poisoning"
    assert np.array_equal(line.x, result.shares)
    assert np.array_equal(line.y, result.auc)
    assert (line.low < line.y).all()
    assert (line.y < line.high).all()


def test_same_seed_same_bytes_and_inputs_left_alone():
    kept = X.copy(), Y.copy()
    attack = LabelFlip(shares=(0.0, 0.2), repeats=2)
    first, second, other = (
        json.dumps([[m.to_json() for m in r.measures], r.curve.to_json()])
        for r in (poison(attack, seed=s) for s in (1, 1, 2))
    )
    assert first == second != other
    assert np.array_equal(X, kept[0])
    assert np.array_equal(Y, kept[1])


@pytest.mark.parametrize("name", sorted(settings_of(LabelFlip)))
def test_settings_outside_their_range_are_refused(name):
    for value in settings_of(LabelFlip)[name].constraint.invalid():
        with pytest.raises(SettingError):
            LabelFlip(**{name: value})


@pytest.mark.parametrize(
    ("y_train", "y_test"),
    [
        (Y[: HALF - 1], Y[HALF:]),
        (np.zeros(HALF, int), Y[HALF:]),
        (Y[:HALF], np.ones(HALF, int)),
        (Y[:HALF] - 1, Y[HALF:]),
        (Y[:HALF].astype(float), Y[HALF:]),
    ],
)
def test_labels_that_cannot_be_used_are_refused_before_any_fit(y_train, y_test):
    refit = Recorded(np.full((HALF, 2), 0.5))
    with pytest.raises(DataError):
        LabelFlip()(refit, X[:HALF], y_train, X[HALF:], y_test, seed=0)
    assert refit.calls == 0


@pytest.mark.parametrize("answers", [np.full((3, 2), 0.5), np.full((HALF, 2), np.nan), np.full((HALF, 1), 1.0)])
def test_refits_that_answer_nonsense_are_refused(answers):
    with pytest.raises(DataError):
        LabelFlip()(Recorded(answers), X[:HALF], Y[:HALF], X[HALF:], Y[HALF:], seed=0)

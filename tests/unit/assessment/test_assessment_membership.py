"""Membership attacks find a planted leak, find none where there is none, and refuse what they cannot judge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.assessment.membership.rmia import RMIA, shadow_rows
from assay.core.discovery import discover
from assay.core.errors import DataError
from assay.models.refit import LocalRefit

ATTACKS = discover(MembershipAttack)


def exposure(estimator, *, seed: int = 0, honest: bool = False) -> Exposure:
    x, y = load_digits(return_X_y=True)
    x, y = x[:900], y[:900]
    member = np.zeros(len(x), dtype=bool)
    member[np.random.default_rng(seed).permutation(len(x))[: len(x) // 2]] = True
    seen = shadow_rows(len(x), 4, seed=seed)
    sets = [(np.flatnonzero(s), y[s]) for s in seen]
    shadows = LocalRefit(estimator, 10).probabilities(sets, x, x, seed=seed)
    target = estimator.fit(x[member], y[member]).predict_proba(x)
    if honest:  # membership drawn anew: the answers say nothing about it
        member = np.random.default_rng(seed + 1).permutation(member)
    return Exposure(target, y, member, shadows, seen)


@pytest.fixture(scope="module")
def leaking():
    return exposure(RandomForestClassifier(40, random_state=0))


def test_a_leaking_forest_is_seen(leaking):
    auc, tpr, _ = RMIA()(leaking).measures
    assert auc.low > 0.85
    assert tpr.low > 0.05


@pytest.mark.parametrize("name", ATTACKS)
def test_membership_at_random_gives_chance(name):
    result = ATTACKS[name]()(exposure(LogisticRegression(max_iter=50, tol=0.1, C=1e-4), honest=True))
    auc, tpr, _ = result.measures
    assert auc.low <= 0.5 <= auc.high
    assert tpr.low <= 0.001


@pytest.mark.parametrize("name", ATTACKS)
def test_curves_and_measures_hold_together(leaking, name):
    kept = leaking.answers.copy()
    first, second = (ATTACKS[name]()(leaking) for _ in range(2))
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(kept, leaking.answers)
    assert (np.diff(first.fpr) >= 0).all()
    assert (np.diff(first.tpr) >= 0).all()
    assert (first.fpr[-1], first.tpr[-1]) == (1.0, 1.0)
    assert np.trapezoid(first.tpr, first.fpr) == pytest.approx(first.measures[0].estimate, abs=1e-9)
    assert all(m.threat_model for m in first.measures)


def test_shadows_come_in_complementary_pairs():
    seen = shadow_rows(101, 6, seed=1)
    assert (seen.sum(axis=0) == 3).all()
    assert np.array_equal(seen[0], ~seen[1])


@pytest.mark.parametrize("count", [0, 1, 3, -2])
def test_shadows_that_make_no_pairs_are_refused(count):
    with pytest.raises(DataError):
        shadow_rows(10, count, seed=0)


def test_rmia_without_shadows_is_refused(leaking):
    with pytest.raises(DataError, match="with and without"):
        RMIA()(Exposure(leaking.answers, leaking.labels, leaking.member))


@pytest.mark.parametrize("member", [np.ones(4, bool), np.zeros(4, bool), np.ones(3, bool)])
def test_members_without_others_are_refused(member):
    with pytest.raises(DataError):
        Exposure(np.full((4, 2), 0.5), np.zeros(4, int), member)


def test_what_cannot_be_fitted_again_is_refused():
    with pytest.raises(DataError):
        LocalRefit(object(), 2)

"""Membership attacks find a planted leak, find none where there is none, and refuse what they cannot judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from assay.assessment.assessment import assess, wanted_goals
from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.assessment.membership.bavaria import Bavaria
from assay.assessment.membership.boundary import BoundaryDistance
from assay.assessment.membership.lira import LiRA
from assay.assessment.membership.modified_entropy import ModifiedEntropy
from assay.assessment.membership.quantile import Quantile
from assay.assessment.membership.rmia import RMIA, shadow_rows
from assay.assessment.membership.scores import floor
from assay.contract.contract import Contract, Feature, Kind, Target
from assay.core.discovery import discover
from assay.core.errors import DataError, SettingError
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
    public = ~member & (np.arange(len(x)) % 2 == 0)
    # What stands for the distance to the boundary: how far the answer is from turning.
    far = np.maximum(target[np.arange(len(y)), y] - 0.5, 0.0)
    return Exposure(target, y, member, shadows, seen, x, public, far)


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


@pytest.mark.parametrize("kind", [RMIA, LiRA, Bavaria])
def test_without_shadows_a_likelihood_ratio_is_refused(leaking, kind):
    with pytest.raises(DataError, match="with and without"):
        kind()(Exposure(leaking.answers, leaking.labels, leaking.member))


def test_offline_lira_needs_no_model_that_saw_the_row(leaking):
    blind = Exposure(leaking.answers, leaking.labels, leaking.member, leaking.shadows, np.zeros_like(leaking.seen))
    with pytest.raises(DataError):
        LiRA()(blind)
    assert np.isfinite(LiRA(form="offline")(blind).scores).all()


@pytest.mark.parametrize(
    "kind", [LiRA(), LiRA(variance="own"), LiRA(form="offline"), Bavaria(), ModifiedEntropy(), BoundaryDistance()]
)
def test_the_other_attacks_see_a_leaking_forest_too(leaking, kind):
    assert kind(leaking).measures[0].low > 0.55


def test_the_quantile_attack_needs_public_rows(leaking):
    with pytest.raises(DataError, match="public"):
        Quantile()(replace(leaking, public=None))
    with pytest.raises(DataError, match="too few"):
        Quantile()(replace(leaking, public=np.arange(len(leaking.labels)) < 10))


def test_modified_entropy_is_no_sign_of_a_sure_mistake():
    answers = np.array([[0.99, 0.01], [0.01, 0.99], [0.6, 0.4]])
    made = Exposure(answers, np.zeros(3, int), np.array([True, False, False]))
    assert ModifiedEntropy().score(made).argsort().tolist() == [1, 2, 0]


def test_the_floor_is_half_the_step_of_a_forest():
    assert floor(np.array([0.0, 0.02, 0.5, 1.0])) == pytest.approx(0.01)
    assert floor(np.array([1e-9, 0.5])) == pytest.approx(1e-6)
    assert floor(np.array([0.0, 1.0])) == pytest.approx(0.02)


def test_the_goal_measures_slices_and_names_records():
    x, y = load_breast_cancer(return_X_y=True)
    columns = [Feature(f"f{i}", Kind.NUMBER, slice=i == 0) for i in range(x.shape[1])]
    contract = Contract(Target("y", ("0", "1")), tuple(columns))
    inner, outer = np.arange(len(x)) % 2 == 0, np.arange(len(x)) % 2 == 1
    forest = RandomForestClassifier(20, random_state=0).fit(x[inner], y[inner])
    found = assess(
        forest, train=(x[inner], y[inner]), test=(x[outer], y[outer]), contract=contract, goals=["membership"],
        refit=LocalRefit(RandomForestClassifier(20), 2),
    )  # fmt: skip
    names = [m.name for m in found.measures]
    assert sum("f0=" in name for name in names) >= 3
    assert {name.partition("@")[2] for name in names if ".auc@" in name} == set(ATTACKS)
    told = found.evidence[0].parameters
    assert told["shadows"] == 32
    assert len(set(told["most_exposed_rows"])) == 20


def test_goals_are_named_one_by_one_or_by_their_group():
    names = {goal.name for goal in wanted_goals(["privacy"])}
    assert "membership" in names
    assert "quality" not in names
    assert {goal.name for goal in wanted_goals(["quality", "quality"])} == {"quality"}
    with pytest.raises(SettingError):
        wanted_goals(["secrecy"])


@pytest.mark.parametrize("member", [np.ones(4, bool), np.zeros(4, bool), np.ones(3, bool)])
def test_members_without_others_are_refused(member):
    with pytest.raises(DataError):
        Exposure(np.full((4, 2), 0.5), np.zeros(4, int), member)


def test_what_cannot_be_fitted_again_is_refused():
    with pytest.raises(DataError):
        LocalRefit(object(), 2)

"""Membership attacks find a planted leak, find none where there is none, and refuse what they cannot judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from assay.assessment.assessment import assess, wanted_goals
from assay.assessment.membership.base import Exposure, MembershipAttack, accused, share_found
from assay.assessment.membership.bavaria import Bavaria
from assay.assessment.membership.boundary import BoundaryDistance
from assay.assessment.membership.lira import LiRA
from assay.assessment.membership.modified_entropy import ModifiedEntropy
from assay.assessment.membership.neighbours import ASKED, Neighbours, rows_around
from assay.assessment.membership.quantile import Quantile
from assay.assessment.membership.rmia import RMIA, shadow_rows
from assay.assessment.membership.scores import floor
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import DataError, SettingError
from assay.models.refit import LocalRefit
from assay.stats.intervals import clopper_pearson

ATTACKS = discover(MembershipAttack)


def exposure(estimator, *, seed: int = 0, honest: bool = False, data=None, shadows: int = 4) -> Exposure:
    x, y = load_digits(return_X_y=True) if data is None else data
    x, y = x[:900], y[:900]
    member = np.zeros(len(x), dtype=bool)
    member[np.random.default_rng(seed).permutation(len(x))[: len(x) // 2]] = True
    seen = shadow_rows(len(x), shadows, seed=seed)
    sets = [(np.flatnonzero(s), y[s]) for s in seen]
    nearby = rows_around(x, y, Region.box(x.min(axis=0), x.max(axis=0)), seed=seed)
    queries = np.concatenate([x, nearby.reshape(-1, x.shape[1])])
    answers = LocalRefit(estimator, int(y.max()) + 1).probabilities(sets, x, queries, seed=seed)
    target = estimator.fit(x[member], y[member]).predict_proba(queries)
    sure = np.concatenate([target[None], answers])[:, np.arange(len(queries)), np.tile(y, 1 + 2 * ASKED)]
    around = sure[:, len(x) :].reshape(len(sure), 2, ASKED, len(x))
    target = target[: len(x)]
    if honest:  # membership drawn anew: the answers say nothing about it
        member = np.random.default_rng(seed + 1).permutation(member)
    public = ~member & (np.arange(len(x)) % 2 == 0)
    # What stands for the distance to the boundary: how far the answer is from turning.
    far = np.maximum(target[np.arange(len(y)), y] - 0.5, 0.0)
    return Exposure(target, y, member, answers[:, : len(x)], seen, x, public, far, around[0], around[1:])


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
    "kind",
    [
        LiRA(), LiRA(variance="own"), LiRA(form="offline"), Bavaria(), ModifiedEntropy(), BoundaryDistance(), Neighbours(),
    ],
)  # fmt: skip
def test_the_other_attacks_see_a_leaking_forest_too(leaking, kind):
    assert kind(leaking).measures[0].low > 0.55


def test_the_quantile_attack_needs_public_rows(leaking):
    with pytest.raises(DataError, match="public"):
        Quantile()(replace(leaking, public=None))
    with pytest.raises(DataError, match="too few"):
        Quantile()(replace(leaking, public=np.arange(len(leaking.labels)) < 10))


def test_the_neighbours_attack_needs_answers_around_the_rows_and_shadows_to_learn_from(leaking):
    with pytest.raises(DataError, match="around"):
        Neighbours()(replace(leaking, around=None))
    two = replace(leaking, shadows=leaking.shadows[:2], seen=leaking.seen[:2], shadow_around=leaking.shadow_around[:2])
    with pytest.raises(DataError, match="too few"):
        Neighbours()(two)
    with pytest.raises(DataError, match="around"):
        replace(leaking, around=leaking.around[:, :, :5])
    with pytest.raises(DataError, match="around"):
        replace(leaking, shadow_around=leaking.shadow_around[:2])


def test_rows_around_a_row_are_valid_whoever_may_change_them():
    columns = (
        Feature("amount", Kind.NUMBER, low=0.0, high=10.0),
        Feature("visits", Kind.INTEGER, low=0, high=9, mutable=Mutable.NO),
        Feature("town", Kind.CATEGORY, categories=("a", "b", "c")),
    )
    region = Region.of(Contract(Target("y", ("0", "1")), columns))
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.uniform(0, 10, 200), rng.integers(0, 10, 200), rng.integers(0, 3, 200)]).astype(float)
    labels = rng.integers(0, 2, 200)
    around = rows_around(x, labels, region, seed=0)
    assert around.shape == (2, ASKED, 200, 3)
    assert ((around[..., 0] >= 0) & (around[..., 0] <= 10)).all()
    assert np.isin(around[..., 1], np.arange(10)).all()
    assert np.isin(around[..., 2], np.arange(3)).all()
    assert (around[..., 1] != x[:, 1]).any(), "an attacker may ask about any valid row"
    assert (around[0, ..., 2] == x[:, 2]).all(), "noise leaves categories as they are"
    changed = (around[1, ..., 2] != x[:, 2]).mean()
    assert 0.1 < changed < 0.3
    assert np.array_equal(around, rows_around(x, labels, region, seed=0))


def test_what_is_missing_stays_missing_around_a_row():
    x = np.random.default_rng(0).random((20, 3))
    x[:, 1], x[3, 0] = np.nan, np.nan
    region = Region.box(np.zeros(3), np.ones(3))
    around = rows_around(x, np.zeros(20, dtype=np.intp), region, seed=0)
    assert np.array_equal(np.isnan(around), np.broadcast_to(np.isnan(x), around.shape))
    alone = rows_around(x[:1], np.zeros(1, dtype=np.intp), region, seed=0)
    assert np.array_equal(alone, np.broadcast_to(x[:1], alone.shape), equal_nan=True)


def test_answers_around_rows_tell_more_of_a_forest_than_those_at_them():
    x, y = make_classification(2000, 12, n_informative=6, flip_y=0.1, random_state=3)
    made = exposure(RandomForestClassifier(30, random_state=1), data=(x, y), shadows=8)
    assert Neighbours()(made).measures[0].estimate > RMIA()(made).measures[0].estimate + 0.003


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


def test_a_forest_that_holds_its_rows_by_heart_is_a_finding():
    x, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(30, random_state=0).fit(x[:700], y[:700])
    found = assess(
        forest, train=(x[:700], y[:700]), test=(x[700:1400], y[700:1400]), refit=forest, goals=["membership"]
    )
    assert "membership-leak" in [f.rule for f in found.evidence[0].findings]


def test_what_would_not_fit_into_memory_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr("assay.assessment.goals.membership._AROUND_BYTES", 1_000)
    x, y = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(10, random_state=0).fit(x[:300], y[:300])
    found = assess(forest, train=(x[:300], y[:300]), test=(x[300:], y[300:]), refit=forest, goals=["membership"])
    names = [m.name for m in found.measures]
    assert "membership.auc@rmia" in names
    assert "membership.auc@neighbours" not in names
    assert any(gap.what == "membership.neighbours" for gap in found.evidence[0].not_checked)


def test_few_others_leave_a_low_end_that_guessing_would_reach():
    low, high = share_found(120, 1300, 40, 0.001)
    assert low == 0.0
    assert high == pytest.approx(0.109, abs=0.001)
    low, _ = share_found(500, 1000, 10_000_000, 0.001)
    assert low == pytest.approx(clopper_pearson(500, 1000)[0], abs=1e-4), (
        "with many others the threshold owes nothing to chance"
    )


def test_rows_tied_at_the_threshold_are_accused_by_lot():
    outside = np.repeat([2.0, 1.0], [4, 96])  # 4 % of the others, and most members, share the highest score
    chance = accused(np.array([3.0, 2.0, 2.0, 1.0]), outside, 0.01)
    assert chance.tolist() == [1.0, 0.25, 0.25, 0.0]
    assert accused(outside, outside, 0.01).sum() == pytest.approx(1.0)


def test_a_model_that_knows_its_rows_by_heart_is_seen_through_ties():
    x, y = make_classification(1400, 5, n_informative=3, n_redundant=0, flip_y=0.3, random_state=0)
    made = exposure(KNeighborsClassifier(1), data=(x, y), shadows=8)
    assert RMIA()(made).measures[2].estimate > 0.02


def test_a_model_that_knows_nothing_passes_with_few_others_too():
    x, y = make_classification(1340, 20, n_informative=10, random_state=3, flip_y=0.1)
    model = LogisticRegression(C=1e-9)
    result = assess(
        model.fit(x, y), train=(x[:1300], y[:1300]), test=(x[1300:], y[1300:]), refit=model, goals=["membership"]
    )
    rates = [m for m in result.measures if m.name.startswith("membership.tpr@fpr0.001")]
    assert len(rates) > 5
    assert all(m.low <= 0.02 for m in rates)
    assert not [f for e in result.evidence for f in e.findings if f.rule == "membership-leak"]


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

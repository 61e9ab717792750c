"""The thief copies what can be copied, gains nothing where there is nothing, and keeps to its budget."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.assessment import assess
from assay.assessment.extraction.active import ActiveThief
from assay.assessment.extraction.base import POLICIES, ExtractionAttack, shown
from assay.assessment.extraction.copycat import Copycat
from assay.assessment.extraction.equation import EquationSolving
from assay.assessment.extraction.knockoff import Knockoff
from assay.assessment.extraction.path_finding import PathFinding
from assay.assessment.extraction.surrogates import fit_best
from assay.assessment.extraction.thief import Thief
from assay.assessment.rising import Rising
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import DataError, Refused, SettingError
from assay.core.settings import settings_of
from assay.models.accounts import Accounts
from assay.models.predictor import predictor

X, Y = make_classification(1500, 10, n_informative=6, random_state=0)
POOL, HOLD, TRUTH = X[500:1000], X[1000:], Y[1000:]
REGION = Region.box(X.min(axis=0), X.max(axis=0), scale=X.std(axis=0))
MODEL = LogisticRegression(max_iter=500).fit(X[:500], Y[:500])


def steal(model=MODEL, *, budget=None, labels=TRUTH, pool=POOL, seed=0, thief=None):
    attack = thief or Thief(budgets=(30, 120))
    return attack(predictor(model, budget=budget), pool, HOLD, labels, REGION, seed=seed)


def function(answer):
    return predictor(answer, classes=2)


def test_the_thief_is_found():
    assert discover(ExtractionAttack)["thief"] is Thief
    assert Thief.techniques == ("AML.T0024.002",)


def test_a_logistic_model_is_stolen_with_few_answers():
    result = steal()
    assert result.queries.tolist() == [30, 120]
    assert result.fidelity[-1] > 0.98
    found = {m.name: m for m in result.measures}
    assert found["extraction.auc_share@q120,thief"].estimate == pytest.approx(1.0, abs=0.01)
    assert found["extraction.fidelity@q120,thief"].low > found["extraction.fidelity_floor"].high
    assert result.refused == 0
    assert all(m.threat_model for m in result.measures)


@pytest.mark.parametrize("knowledge", ["rows", "ranges"])
@pytest.mark.parametrize("answers", ["probabilities", "labels"])
def test_every_threat_model_beats_the_floor(knowledge, answers):
    thief = Thief(budgets=(300,), knowledge=knowledge, answers=answers)
    result = steal(RandomForestClassifier(30, random_state=0).fit(X[:500], Y[:500]), thief=thief)
    name = thief.title
    assert name == "thief" + "_ranges" * (knowledge == "ranges") + "_labels" * (answers == "labels")
    found = {m.name: m for m in result.measures}
    assert found[f"extraction.fidelity@q300,{name}"].low > found["extraction.fidelity_floor"].estimate


def test_fewer_answers_are_worth_less():
    forest = RandomForestClassifier(30, random_state=0).fit(X[:500], Y[:500])
    fidelity = steal(forest, thief=Thief(budgets=(10, 400))).fidelity
    assert fidelity[0] < fidelity[1]


def test_a_constant_model_is_stolen_for_nothing():
    result = steal(function(lambda x: np.tile([0.9, 0.1], (len(x), 1))))
    floor = next(m for m in result.measures if m.name == "extraction.fidelity_floor")
    assert result.fidelity.tolist() == [1.0, 1.0]
    assert floor.estimate == 1.0
    assert result.auc.tolist() == [0.5, 0.5]


def test_answers_without_reason_cannot_be_stolen():
    noise = np.random.default_rng(0)

    def coin(x):
        p = noise.random(len(x))
        return np.stack([1 - p, p], axis=1)

    result = steal(function(coin))
    best = result.measures[0]
    assert best.name == "extraction.fidelity_floor"
    assert all(m.low <= 0.56 for m in result.measures if m.name.startswith("extraction.fidelity@"))


def test_budgets_are_hard_nested_and_asked_once():
    asked = []

    def watched(x):
        asked.append(x.copy())
        return MODEL.predict_proba(x)

    def rows(budgets):
        asked.clear()
        target = function(watched)
        Thief(budgets=budgets)(target, POOL, HOLD, None, REGION, seed=5)
        assert target.queries == budgets[-1]
        return np.concatenate(asked[1:])

    assert np.array_equal(rows((20, 60, 200))[:60], rows((60,)))


def test_a_spent_budget_ends_the_attack_and_what_was_got_counts():
    result = steal(budget=70, thief=Thief(budgets=(30, 200)))
    assert result.queries.tolist() == [30, 70]
    assert result.refused == 130
    assert any(m.name == "extraction.fidelity@q70,thief" for m in result.measures)


class _Guarded:
    """Answers the auditor's look and then so many rows."""

    def __init__(self, rows):
        self.left = rows

    def __call__(self, x):
        if len(x) == len(HOLD):
            return MODEL.predict_proba(x)
        if len(x) > self.left:
            raise Refused("too many")
        self.left -= len(x)
        return MODEL.predict_proba(x)


def test_a_guard_that_refuses_ends_the_attack():
    result = steal(function(_Guarded(110)), thief=Thief(budgets=(50, 300)))
    assert result.queries.tolist() == [50, 100]
    assert result.refused == 200


def test_a_guard_that_never_answers_leaves_the_floor_alone():
    result = steal(function(_Guarded(0)))
    assert result.queries.size == result.fidelity.size == result.auc.size == 0
    assert [m.name for m in result.measures] == ["extraction.fidelity_floor"]
    assert result.refused == 120
    json.dumps(result.curve.to_json())


def test_a_model_that_does_not_answer_the_auditor_is_refused():
    def never(_):
        raise Refused("no")

    with pytest.raises(Refused):
        steal(function(never))


@pytest.mark.parametrize("labels", [None, np.zeros(len(HOLD), int)])
def test_without_labels_of_two_classes_fidelity_alone_is_measured(labels):
    result = steal(labels=labels)
    assert result.auc is None
    assert not any("auc" in m.name for m in result.measures)
    assert [s.name for s in result.curve.series] == ["fidelity", "always the most common answer"]


def test_the_curve_says_what_the_measures_say():
    result = steal()
    fidelity = result.curve.series[0]
    assert result.curve.goal == "extraction"
    assert fidelity.x.tolist() == [30.0, 120.0]
    assert np.array_equal(fidelity.y, result.fidelity)
    assert (fidelity.low < fidelity.y).all()
    assert np.array_equal(result.curve.series[2].y, result.auc)


def test_same_seed_same_bytes_and_inputs_left_alone():
    kept = POOL.copy(), HOLD.copy()
    forest = RandomForestClassifier(10, random_state=0).fit(X[:500], Y[:500])
    first, second, other = (
        json.dumps([[m.to_json() for m in r.measures], r.curve.to_json()])
        for r in (steal(forest, seed=s) for s in (1, 1, 2))
    )
    assert first == second != other
    assert np.array_equal(POOL, kept[0])
    assert np.array_equal(HOLD, kept[1])


@pytest.mark.parametrize("count", [1, 2, 5, 21])
def test_a_handful_of_answers_is_enough_to_try(count):
    assert len(steal(thief=Thief(budgets=(count,))).fidelity) == 1
    assert len(steal(thief=Thief(budgets=(count,), answers="labels")).fidelity) == 1


def test_missing_values_and_many_classes_are_no_obstacle():
    x = X[:300].copy()
    x[::7, 2] = np.nan
    x[:, 3] = np.nan
    answers = np.random.default_rng(0).dirichlet(np.ones(6), len(x))
    for given in (answers, np.eye(6)[answers.argmax(axis=1)], answers.round(1)):
        copied = fit_best(x, given, seed=0)(x)
        assert copied.shape == answers.shape
        assert np.isfinite(copied).all()


def test_a_small_pool_is_filled_with_mixtures_of_its_rows():
    rows = Thief().rows(POOL[:5], REGION, 40, np.random.default_rng(0))
    assert len(rows) == 40
    assert all(np.isin(rows[:, j], POOL[:5, j]).all() for j in range(rows.shape[1]))
    assert len(np.unique(rows, axis=0)) > 20


def test_samples_that_are_no_flat_rows_are_asked_as_they_are():
    seen = []

    def model(x):
        seen.append(x.shape[1:])
        p = 1 / (1 + np.exp(-x.reshape(len(x), -1)[:, 0]))
        return np.stack([1 - p, p], axis=1)

    result = Thief(budgets=(60,))(
        function(model), POOL.reshape(-1, 2, 5), HOLD.reshape(-1, 2, 5), TRUTH, REGION, seed=0
    )
    assert set(seen) == {(2, 5)}
    assert result.fidelity[0] > 0.95


@pytest.mark.parametrize("name", sorted(settings_of(Thief)))
def test_settings_outside_their_range_are_refused(name):
    for value in settings_of(Thief)[name].constraint.invalid():
        with pytest.raises(SettingError):
            Thief(**{name: value})


@pytest.mark.parametrize("value", [[1, 2], (2, 1), (1, True), (1.0, 2.0), "12", None])
def test_budgets_that_do_not_rise_are_refused(value):
    assert not Rising(1, 10, whole=True).admits(value)


@pytest.mark.parametrize(
    ("pool", "holdout", "labels"),
    [
        (POOL[:, :4], HOLD, TRUTH),
        (POOL, HOLD[:0], TRUTH[:0]),
        (POOL, HOLD, TRUTH[:-1]),
        (POOL[:, :4], HOLD[:, :4], TRUTH),
        (POOL[:0], HOLD, TRUTH),
        (POOL, HOLD[:, 0], TRUTH),
    ],
)
def test_rows_that_do_not_go_together_are_refused(pool, holdout, labels):
    with pytest.raises(DataError):
        Thief()(predictor(MODEL), pool, holdout, labels, REGION, seed=0)


def test_answers_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="finite"):
        steal(function(lambda x: np.full((len(x), 2), np.nan)))


ATTACKS = discover(ExtractionAttack)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_keeps_its_budget_under_every_policy(name, policy):
    target = function(MODEL.predict_proba)
    attack = ATTACKS[name](budgets=(20, 90), answers=policy)
    result = attack(target, POOL, HOLD, TRUTH, REGION, seed=0)
    assert target.queries <= 90
    assert result.queries[-1] <= 90
    assert attack.title == (name if policy == "probabilities" else f"{name}_{policy}")
    assert np.isfinite(result.fidelity).all()
    again = ATTACKS[name](budgets=(20, 90), answers=policy)(
        function(MODEL.predict_proba), POOL, HOLD, TRUTH, REGION, seed=0
    )
    assert again.fidelity.tolist() == result.fidelity.tolist()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_ends_when_it_is_refused(name):
    result = ATTACKS[name](budgets=(50, 300))(function(_Guarded(110)), POOL, HOLD, TRUTH, REGION, seed=0)
    assert result.queries[-1] <= 110
    assert result.refused >= 190


@pytest.mark.parametrize("classes", [2, 4])
def test_equations_give_a_linear_model_away_after_d_plus_1_answers(classes):
    x, y = make_classification(900, 12, n_informative=8, n_classes=classes, random_state=1)
    model = LogisticRegression(max_iter=2000).fit(x[:300], y[:300])
    region = Region.box(x.min(axis=0), x.max(axis=0))
    result = EquationSolving(budgets=(7, 13))(predictor(model), x[300:600], x[600:], y[600:], region, seed=0)
    assert result.fidelity[1] == 1.0
    assert result.fidelity[0] < 1.0
    rounded = EquationSolving(budgets=(13,), answers="rounded")
    assert rounded(predictor(model), x[300:600], x[600:], y[600:], region, seed=0).fidelity[0] < 1.0


def test_paths_give_a_tree_away():
    x = np.random.default_rng(0).uniform(size=(4000, 4))
    y = ((x[:, 0] > 0.6) ^ (x[:, 1] > 0.3) & (x[:, 2] < 0.8)).astype(int)
    model = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=20, random_state=0).fit(x[:1000], y[:1000])
    # Leaves of one answer cannot be told apart; these all differ.
    noisy = predictor(lambda rows: _told_apart(model, rows), classes=2)
    result = PathFinding(budgets=(900,))(
        noisy, x[1000:1100], x[1100:], y[1100:], Region.box([0.0] * 4, [1.0] * 4), seed=0
    )
    assert result.fidelity[-1] >= 0.998


def _told_apart(model, rows):
    leaf = model.apply(rows) / (10 * model.tree_.node_count)
    share = np.where(model.predict(rows) == 1, 0.6 + leaf, 0.4 - leaf)
    return np.stack([1 - share, share], axis=1)


def test_what_a_policy_shows():
    answers = np.array([[0.126, 0.374, 0.5], [0.333, 0.333, 0.334]])
    assert np.allclose(shown(answers, "rounded"), [[0.13, 0.37, 0.5], [1 / 3, 1 / 3, 1 / 3]], atol=0.01)
    assert np.allclose(shown(answers, "top1"), [[0.25, 0.25, 0.5], [0.333, 0.333, 0.334]])
    assert shown(answers, "labels").tolist() == [[0, 0, 1], [0, 0, 1]]
    for policy in POLICIES:
        assert np.allclose(shown(answers, policy).sum(axis=1), 1)


def test_an_active_thief_needs_fewer_answers_where_labels_are_all():
    forest = RandomForestClassifier(30, random_state=0).fit(X[:500], Y[:500])
    fidelity = [
        np.mean([steal(forest, thief=kind(budgets=(150,), answers="labels"), seed=s).fidelity[-1] for s in range(3)])
        for kind in (ActiveThief, Copycat)
    ]
    assert fidelity[0] > fidelity[1]


def test_more_accounts_buy_a_better_copy():
    def account():
        return predictor(_Limited(60), classes=2)

    thief = Knockoff(budgets=(240,))
    said = MODEL.predict_proba(HOLD)
    got = [
        thief(Accounts([account() for _ in range(count)]), POOL, HOLD, TRUTH, REGION, seed=0, said=said)
        for count in (1, 4)
    ]
    assert [int(r.queries[-1]) for r in got] == [50, 200]
    assert got[1].fidelity[-1] > got[0].fidelity[-1]
    with pytest.raises(DataError):
        Accounts([])


class _Limited:
    """Answers so many rows in all."""

    def __init__(self, rows):
        self.left = rows

    def __call__(self, x):
        if len(x) > self.left:
            raise Refused("spent")
        self.left -= len(x)
        return MODEL.predict_proba(x)


def test_the_goal_prints_queries_to_95_and_warns_when_one_class_dominates():
    found = assess(MODEL, train=(X[:500], Y[:500]), test=(X[500:], Y[500:]), goals=["extraction"])
    names = {m.name: m for m in found.measures}
    assert names["extraction.queries_to_0.95@equation"].estimate == 100
    assert names["extraction.fidelity@q1000,knockoff_labels"].high <= 1
    assert not found.evidence[0].findings
    # A copy that was not good enough is a measurement too, and nothing is left unchecked.
    assert not found.evidence[0].not_checked
    titles = {n.rpartition("@")[2] for n in names if ".queries_" in n}
    assert titles == {"thief", "equation", "knockoff", "knockoff_rounded", "knockoff_top1", "knockoff_labels"}
    rare = (X[:, 0] > 2.6).astype(int)
    skewed = assess(
        LogisticRegression(C=1e-3).fit(X[:500], rare[:500]), train=(X[:500], rare[:500]), test=(X[500:], rare[500:]),
        goals=["extraction"],
    )  # fmt: skip
    assert [f.rule for f in skewed.evidence[0].findings] == ["extraction-fidelity-meaningless"]
    assert all(m.void for m in skewed.measures if ".queries_" in m.name)


def test_a_budget_that_does_not_buy_the_model_is_said():
    labels = np.random.default_rng(0).integers(0, 8, len(X))
    tree = DecisionTreeClassifier(random_state=0).fit(X, labels)
    found = assess(tree, train=(X[:500], labels[:500]), test=(X[500:], labels[500:]), goals=["extraction"])
    least = found.measure("extraction.queries_not_enough_for_0.95@knockoff_labels")
    assert (least.low, least.high) == (1000, 1000)
    assert found.measure("extraction.queries_to_0.95@knockoff_labels") is None
    (table,) = found.exhibits
    assert table.heads == ("thief", "answers show", "100 answers", "300 answers", "1,000 answers", "answers to 95 %")
    assert ("knockoff", "labels") in [row[:2] for row in table.rows]
    assert {row[-1] for row in table.rows} == {"more than 1,000"}


def test_a_tree_with_many_equal_leaves_is_copied_as_far_as_the_budget_goes():
    noisy = np.where(np.random.default_rng(0).random(len(Y)) < 0.2, 1 - Y, Y)
    tree = DecisionTreeClassifier(max_depth=9, random_state=0).fit(X, noisy)
    result = PathFinding(budgets=(500, 8000))(predictor(tree), POOL, HOLD, None, REGION, seed=0)
    assert result.refused == 0
    assert result.fidelity[1] > result.fidelity[0] + 0.05

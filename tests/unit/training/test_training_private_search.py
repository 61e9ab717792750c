"""A private search spends what it says, keeps nothing but its best, and chooses well when the score can tell."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from assay.core.errors import SettingError, UnsupportedError
from assay.core.measure import Verdict
from assay.stats.privacy.accountant import epsilon as accounted
from assay.stats.privacy.events import SampledGaussian
from assay.stats.privacy.selection import NegativeBinomial, selection_epsilon
from assay.training.private.audit_model import audit, statement
from assay.training.private.claim import measures_of, trained_epsilon
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.search import PrivateSearch
from assay.training.private.trees import DPBoostedTreesClassifier


def small():
    x, y = load_digits(n_class=4, return_X_y=True)
    return x[:400, ::4], y[:400]


def linear(**options):
    return DPLogisticRegression(**{"bounds": (0, 16), "steps": 20, "classes": range(4), "rows": 400, **options})


RATES = [{"learning_rate": rate} for rate in (1e-4, 1.0)]


def test_the_claim_covers_trials_score_and_choice():
    found = PrivateSearch(linear(), RATES, 4.0).fit(*small())
    said = found.privacy_statement()
    assert said["holds"]
    assert 3.9 <= said["epsilon"]["high"] <= 4.0
    assert said["parts"]["trial"] + said["parts"]["choice"] == pytest.approx(said["epsilon"]["high"])
    assert said["epsilon"]["high"] <= said["epsilon_renyi"]
    # Computed again from what the statement says of a trial.
    training, number = said["training"], NegativeBinomial(4.0, 1.0)
    events = [(SampledGaussian(training["sigma"]), training["steps"]), (SampledGaussian(said["score_sigma"]), 1)]
    assert accounted(events[:1], 1e-5 / 4).high == pytest.approx(said["epsilon_trained"], rel=2e-3)
    assert selection_epsilon(number, [events], 1e-5).epsilon == pytest.approx(said["epsilon"]["high"], rel=1e-6)
    assert measures_of(said, 400)[0].against(at_most=4.0) is Verdict.PASS
    assert found.privacy_measures()[0].high == said["epsilon"]["high"]
    json.dumps(said)


@pytest.mark.parametrize(
    ("estimator", "candidates"),
    [
        (linear(batch=100, steps=8), [{"batch": 50}]),
        (DPMLPClassifier(bounds=(0, 16), steps=20, classes=range(4), rows=400), [{"hidden": (8,)}, {"hidden": (16,)}]),
        (
            DPBoostedTreesClassifier(bounds=(0, 16), classes=range(4), rows=400),
            [{"trees": 20}, {"trees": 60, "depth": 2}],
        ),
    ],
    ids=["sampled", "network", "trees"],
)
def test_each_private_classifier_can_be_searched(estimator, candidates):
    found = PrivateSearch(estimator, candidates, 4.0).fit(*small())
    assert found.privacy_statement()["epsilon"]["high"] <= 4.0
    assert found.best_params_ in candidates
    assert found.predict_proba(small()[0][:3]).shape == (3, 4)
    assert found.decision_function(small()[0][:3]).shape == (3, 4)
    assert found.onnx_bytes()


def test_the_better_setting_is_chosen_when_trials_are_many():
    made = [PrivateSearch(linear(), RATES, 8.0, trials=8.0, random_state=seed) for seed in range(12)]
    chosen = [m.fit(*small()).best_index_ for m in made]
    assert np.mean(chosen) > 0.6


def test_public_rows_score_without_noise_and_the_statement_says_so():
    x, y = small()
    found = PrivateSearch(linear(), RATES, 4.0).fit(x[:300], y[:300], public=(x[300:], y[300:]))
    said = found.privacy_statement()
    assert said["score"] == "public rows"
    assert not said["score_sigma"]
    assert any("public" in a for a in said["assumptions"])
    assert found.best_score_ == found.best_estimator_.score(x[300:], y[300:])
    # What the score does not spend, the trials may.
    assert (
        said["epsilon_trained"] > PrivateSearch(linear(), RATES, 4.0).fit(x, y).privacy_statement()["epsilon_trained"]
    )


def test_nothing_is_kept_of_the_other_trials(monkeypatch):
    made = []

    class Noted(DPLogisticRegression):
        def fit(self, X, y, observer=None):
            made.append(self)
            return super().fit(X, y, observer)

    monkeypatch.setattr(NegativeBinomial, "draw", lambda self, uniform: 5)
    found = PrivateSearch(Noted(bounds=(0, 16), steps=5), RATES, 4.0).fit(*small())
    assert len(made) == 5
    kept = {k for k in vars(found) if k.endswith("_")}
    assert kept == {
        "best_score_", "best_index_", "best_params_", "best_estimator_", "classes_", "n_features_in_", "rows_", "claim_",
    }  # fmt: skip
    losers = [m for m in made if m is not found.best_estimator_]
    assert len(losers) == 4
    assert "5" not in {str(v) for v in found.privacy_statement()["trials"].values()}


def test_a_seed_makes_it_repeatable_and_void():
    first, second = (PrivateSearch(linear(), RATES, 4.0, random_state=3).fit(*small()) for _ in range(2))
    assert np.array_equal(first.predict_proba(small()[0]), second.predict_proba(small()[0]))
    assert not first.privacy_statement()["holds"]


def test_the_audit_is_of_one_trial():
    made = PrivateSearch(linear(), [{}], 4.0)
    found = audit(made, *small(), canaries=40)
    assert not found.failed
    said = statement(made.fit(*small()))
    assert found.claimed == pytest.approx(trained_epsilon(said), rel=2e-3)
    assert found.claimed < said["epsilon"]["high"]


def test_scikit_learn_accepts_it():
    made = PrivateSearch(DPLogisticRegression(steps=10), RATES)
    failed = [r["check_name"] for r in check_estimator(made, on_skip=None, on_fail=None) if r["status"] == "failed"]
    assert not failed
    assert pickle.loads(pickle.dumps(clone(made))).candidates == RATES


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (PrivateSearch(LogisticRegression()), UnsupportedError),
        (PrivateSearch(linear(), []), SettingError),
        (PrivateSearch(linear(), [{"epsilon": 3.0}]), SettingError),
        (PrivateSearch(linear(), [{"sigma": 3.0}]), SettingError),
        (PrivateSearch(linear(sigma=1.0), [{}]), SettingError),
        (PrivateSearch(linear(), [{"rows": 3}]), SettingError),
        (PrivateSearch(linear(), trials=1.0), SettingError),
        (PrivateSearch(linear(), score_share=0.0), SettingError),
        (PrivateSearch(linear(), epsilon=0.0), SettingError),
    ],
)
def test_what_would_break_the_proof_is_refused(made, error):
    with pytest.raises(error) as caught:
        made.fit(*small())
    assert caught.value.remedy


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("trials", [1.2, 4.0, 30.0])
def test_no_budget_is_taken_that_costs_more_than_epsilon(epsilon, trials):
    made = PrivateSearch(linear(), [{}, {"steps": 5}], epsilon, trials=trials).fit(*small())
    said = made.privacy_statement()
    assert 0 < said["epsilon_trained"] < said["epsilon"]["high"] <= epsilon
    assert said["epsilon"]["high"] > 0.98 * epsilon

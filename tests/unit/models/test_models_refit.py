"""Copies fitted together answer as copies fitted one by one; forests share out their trees; stopped runs go on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from assay.core.errors import DataError
from assay.models.refit import LocalRefit
from assay.models.together.linear import ManyLogistic
from assay.models.together.mlp import ManyPerceptrons


def sets_of(y, count, share=0.5, seed=0):
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.permutation(len(y))[: int(share * len(y)) + i % 2]) for i in range(count)]
    return [(r, y[r]) for r in rows]


def one_by_one(estimator, sets, x, classes):
    answers = []
    for i, (rows, labels) in enumerate(sets):
        model = clone(estimator)
        model.set_params(**{n: i for n in model.get_params() if n.rpartition("__")[2] == "random_state"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x[rows], labels)
        found = np.zeros((len(x), classes))
        found[:, model.classes_] = model.predict_proba(x)
        answers.append(found)
    return np.stack(answers)


@pytest.mark.parametrize("data", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_regressions_reach_the_optimum(data, intercept):
    x, y = data(return_X_y=True)
    classes = int(y.max()) + 1
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500, tol=1e-6, fit_intercept=intercept))
    sets = sets_of(y, 5)
    together = LocalRefit(model, classes).probabilities(sets, x, x, seed=0)
    assert np.abs(together - one_by_one(model, sets, x, classes)).max() < 2e-4


def test_a_class_that_a_copy_never_saw_gets_nothing():
    x, y = load_iris(return_X_y=True)
    rows = np.flatnonzero(y != 2)
    sets = [(rows, y[rows]), (np.arange(len(y)), y)]
    for model in (LogisticRegression(max_iter=300), MLPClassifier((8,), max_iter=30)):
        answers = LocalRefit(model, 3).probabilities(sets, x, x, seed=0)
        assert (answers[0, :, 2] == 0).all()
        assert np.allclose(answers.sum(axis=2), 1.0)


@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier((32,), max_iter=80),
        MLPClassifier((16, 8), activation="tanh", solver="sgd", learning_rate_init=0.05, max_iter=80),
        MLPClassifier((16,), activation="logistic", max_iter=150, learning_rate_init=0.01, alpha=0.1),
        MLPClassifier((16,), solver="sgd", momentum=0.5, nesterovs_momentum=False, learning_rate_init=0.1, max_iter=80),
    ],
    ids=["adam", "nesterov", "logistic", "momentum"],
)
@pytest.mark.parametrize("data", [load_iris, load_breast_cancer])
def test_perceptrons_learn_as_well_as_scikit_learns(data, model):
    x, y = data(return_X_y=True)
    classes = int(y.max()) + 1
    pipe = make_pipeline(StandardScaler(), model)
    sets = sets_of(y, 6)
    ours = LocalRefit(pipe, classes).probabilities(sets, x, x, seed=0)
    theirs = one_by_one(pipe, sets, x, classes)
    sure = [np.mean([a[i, r, labels].mean() for i, (r, labels) in enumerate(sets)]) for a in (ours, theirs)]
    assert sure[0] == pytest.approx(sure[1], abs=0.03)
    right = [(a.argmax(axis=2) == y).mean() for a in (ours, theirs)]
    assert right[0] == pytest.approx(right[1], abs=0.03)


def test_the_same_seed_gives_the_same_bytes_and_inputs_stay():
    x, y = load_iris(return_X_y=True)
    kept = x.tobytes()
    model, sets = MLPClassifier((8,), max_iter=20), sets_of(y, 20)
    first, second, other = (LocalRefit(model, 3).probabilities(sets, x, x, seed=s) for s in (1, 1, 2))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != other.tobytes()
    assert x.tobytes() == kept


@pytest.mark.parametrize(
    ("together", "model"),
    [
        (ManyPerceptrons, MLPClassifier(early_stopping=True)),
        (ManyPerceptrons, MLPClassifier(solver="lbfgs")),
        (ManyPerceptrons, MLPClassifier(solver="sgd", learning_rate="adaptive")),
        (ManyPerceptrons, LogisticRegression()),
        (ManyLogistic, LogisticRegression(class_weight="balanced")),
        (ManyLogistic, LogisticRegression(solver="saga")),
        (ManyLogistic, LogisticRegression(warm_start=True)),
    ],
)
def test_settings_that_are_not_followed_are_left_to_scikit_learn(together, model):
    assert not together.accepts(model)


def test_forests_share_their_trees_out_among_more_sets():
    x, y = load_iris(return_X_y=True)
    sets = sets_of(y, 8)
    refit = LocalRefit(RandomForestClassifier(40), 3)
    assert refit.probabilities(sets, x, x, seed=0, fewest=2).shape == (8, len(x), 3)
    few = LocalRefit(RandomForestClassifier(8), 3).probabilities(sets, x, x, seed=0, fewest=2)
    assert few.shape[0] == 2
    boosted = LocalRefit(GradientBoostingClassifier(n_estimators=3), 3).probabilities(sets, x, x, seed=0, fewest=2)
    assert boosted.shape[0] == 2


def test_a_stopped_run_goes_on_from_what_was_kept(tmp_path):
    x, y = load_iris(return_X_y=True)
    sets = sets_of(y, 4)
    told = []
    settings = {"store": tmp_path / "answers", "progress": lambda done, every: told.append((done, every))}
    first = LocalRefit(GradientBoostingClassifier(n_estimators=3), 3, **settings).probabilities(sets, x, x, seed=0)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    files = sorted((tmp_path / "answers").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:50])
    told.clear()
    again = LocalRefit(GradientBoostingClassifier(n_estimators=3), 3, **settings).probabilities(sets, x, x, seed=0)
    assert told == [(3, 4), (4, 4)]
    assert again.tobytes() == first.tobytes()


def test_a_classifier_without_probabilities_answers_with_labels():
    x, y = load_iris(return_X_y=True)
    answers = LocalRefit(SVC(), 3).probabilities(sets_of(y, 2), x, x, seed=0)
    assert set(np.unique(answers)) == {0.0, 1.0}
    assert (answers.sum(axis=2) == 1.0).all()


def test_a_recipe_that_cannot_take_the_rows_says_so_in_one_line():
    x, y = load_iris(return_X_y=True)
    with pytest.raises(DataError, match="cannot be fitted"):
        LocalRefit(GradientBoostingClassifier(loss="no such loss"), 3).probabilities(sets_of(y, 2)[:1], x, x, seed=0)

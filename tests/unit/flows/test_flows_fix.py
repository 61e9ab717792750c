"""The fix lowers the leak of a forest at the price of a point, says what it costs, and says when nothing helps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.contract.region import Region
from assay.core.errors import DataError, SettingError, UnsupportedError
from assay.flows.assess import assess_files
from assay.flows.fix import HEADS, fix_privacy
from assay.models.refit import LocalRefit
from assay.training.private.crossfit import CrossFitted
from assay.training.variants import varied

X, Y = load_digits(return_X_y=True)
BOX = Region.box(np.zeros(64), np.full(64, 16.0))


def fixed(estimator, x=X, y=Y, region=BOX, progress=None):
    half = len(x) // 2
    classes = int(y.max()) + 1
    return fix_privacy(
        lambda variant: LocalRefit(varied(clone(estimator), variant), classes), (x[:half], y[:half]), (x[half:], y[half:]),
        region, progress=progress,
    )  # fmt: skip


@pytest.mark.long
def test_a_leaking_forest_is_mended_at_the_price_of_a_point():
    told = []
    found = fixed(RandomForestClassifier(40, random_state=0), X[:1000], Y[:1000], progress=told.append)
    first = found.trials[0]
    assert first.leak.low > 0.2
    assert found.enough
    assert found.chosen.leak.estimate * 5 <= first.leak.estimate
    assert found.chosen.accuracy >= first.accuracy - 0.01 or found.chosen.auc >= first.auc - 0.01
    assert told[0] == "as it is"
    assert [len(row) for row in found.rows()] == [len(HEADS)] * len(found.trials)
    assert sum("(chosen)" in row[0] for row in found.rows()) == 1
    untried = {t.remedy.name for t in found.trials if t.why}
    assert untried == {"regularise"}
    assert len(found.curve().series) == len(found.trials) - 1
    assert found.to_json()["chosen"] == found.chosen.remedy.name


def test_a_model_that_leaks_nothing_is_left_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = (x[:, 0] + rng.normal(size=400) > 0).astype(int)
    region = Region.box([-np.inf, -np.inf], [np.inf, np.inf])
    found = fixed(LogisticRegression(C=1e-6), x, y, region)
    assert not found.enough
    assert "private" not in {t.remedy.name for t in found.trials}
    assert all(t.why for t in found.trials if t.remedy.name.startswith(("leaf", "depth", "regularise")))


def test_what_cannot_be_fitted_is_refused():
    def never(_):
        raise UnsupportedError("no recipe")

    with pytest.raises(DataError, match="no recipe"):
        fix_privacy(never, (X[:50], Y[:50]), (X[50:100], Y[50:100]), BOX)
    with pytest.raises(SettingError, match="recipe"):
        assess_files("model.onnx", "a", "b", "c", fix=True)


@pytest.mark.parametrize(
    ("estimator", "settings", "found"),
    [
        (RandomForestClassifier(), {"min_samples_leaf": {"at_least": 5}}, {"min_samples_leaf": 5}),
        (RandomForestClassifier(max_depth=20), {"max_depth": {"at_most": 8}}, {"max_depth": 8}),
        (RandomForestClassifier(), {"max_depth": {"at_most": 8}}, {"max_depth": 8}),
        (CrossFitted(RandomForestClassifier()), {"max_depth": {"at_most": 8}}, {"estimator__max_depth": 8}),
    ],
)
def test_settings_are_tightened_at_any_depth(estimator, settings, found):
    assert varied(estimator, {"settings": settings}).get_params() == {**estimator.get_params(), **found}


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(max_depth=3, min_samples_leaf=0.01),
        LogisticRegression(),
        RandomForestClassifier(min_samples_leaf=30, max_depth=2),
    ],
)
def test_what_is_strict_already_is_no_variant(estimator):
    with pytest.raises(UnsupportedError):
        varied(clone(estimator), {"settings": {"max_depth": {"at_most": 8}, "min_samples_leaf": {"at_least": 5}}})


def test_cross_fitting_answers_members_as_others():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 5))
    y = rng.integers(0, 2, 300)
    plain = RandomForestClassifier(30, random_state=0).fit(x, y)
    wrapped = CrossFitted(RandomForestClassifier(30, random_state=0)).fit(x, y)
    sure = [m.predict_proba(x)[np.arange(300), y].mean() for m in (plain, wrapped)]
    assert sure[0] > 0.75
    assert sure[1] < 0.65
    assert wrapped.predict(x).shape == (300,)
    with pytest.raises(SettingError):
        CrossFitted(LogisticRegression(), folds=1).fit(x, y)
    with pytest.raises(DataError):
        CrossFitted(LogisticRegression()).fit(x[:3], y[:3])


def test_cross_fitting_hands_the_weights_to_the_last_step_of_a_pipeline():
    x, y = X[:200], Y[:200]
    inner = make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0))
    wrapped = CrossFitted(make_pipeline(SimpleImputer(), inner)).fit(x, y)
    assert (wrapped.predict(x) == y).mean() > 0.7
    with pytest.raises(UnsupportedError, match="KNeighborsClassifier"):
        CrossFitted(KNeighborsClassifier()).fit(x, y)


def test_a_private_model_is_tried_where_values_are_missing():
    x = np.where(np.random.default_rng(0).random(X[:400].shape) < 0.1, np.nan, X[:400])
    model = varied(LogisticRegression(), {"private": {"epsilon": 3.0, "bounds": ([0.0] * 64, [16.0] * 64)}})
    assert np.isfinite(model.fit(x, Y[:400]).predict_proba(x)).all()

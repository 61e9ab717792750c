"""Conversion to ONNX gives the same probabilities, rows with missing values and unseen categories included."""

from __future__ import annotations

import joblib
import numpy as np
import onnxruntime
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from assay.artifacts.convert import EXACT, convert_sklearn
from assay.artifacts.onnx_graph import exact_graph
from assay.core.errors import DataError, UnsupportedError
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.scaling import BoundsEncoder
from assay.training.private.trees import DPBoostedTreesClassifier

RNG = np.random.default_rng(7)
N = 500
X = np.column_stack(
    [RNG.normal(size=N) * 1e5, RNG.normal(size=N), RNG.integers(0, 40, N), RNG.integers(15000, 20000, N)]
).astype(float)
X[RNG.random(N) < 0.1, 0] = np.nan
Y = ((np.nan_to_num(X[:, 0]) / 1e5 + X[:, 1] + (X[:, 2] % 3 == 1)) > 0.5).astype(int)
ROWS = np.vstack([X, X])
ROWS[N::5, 2] = -1
ROWS[N::7, 0] = np.nan


def prepared(last, categories):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        ColumnTransformer([("n", numbers, [0, 1, 3]), ("c", categories, [2])], sparse_threshold=0), last
    )


ONE_HOT = OneHotEncoder(handle_unknown="ignore")
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
FULL = make_pipeline(SimpleImputer(strategy="most_frequent"), ONE_HOT)
MODELS = {
    "logistic": prepared(LogisticRegression(max_iter=500), FULL),
    "histogram": HistGradientBoostingClassifier(max_iter=10),
    "native categories": HistGradientBoostingClassifier(max_iter=10, categorical_features=[2]),
    "ordinal": prepared(HistGradientBoostingClassifier(max_iter=10), ORDINAL),
    "one hot": prepared(HistGradientBoostingClassifier(max_iter=10), ONE_HOT),
    "forest": RandomForestClassifier(10, random_state=0),
    "extra": ExtraTreesClassifier(10, random_state=0),
    "tree": DecisionTreeClassifier(random_state=0),
    "boosting": make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=10)),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_converts_exactly(tmp_path, name, classes):
    y = Y if classes == 2 else np.where(X[:, 1] > 1, 2, Y)
    joblib.dump(MODELS[name].fit(X, y), tmp_path / "model.joblib")
    np.save(tmp_path / "rows.npy", ROWS)
    answer = convert_sklearn({"model": tmp_path / "model.joblib", "rows": tmp_path / "rows.npy"}, tmp_path)
    assert answer["max_difference"] <= EXACT
    assert answer["label_agreement"] == 1.0
    assert answer["tool"] == "exact"


PARTS = BoundsEncoder(([-3e5, -3, 0, 15000], [3e5, 3, 40, 20000]), bins=[5, 7, 4, 3])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "last", [DPLogisticRegression(3.0), DPMLPClassifier(3.0, hidden=(8,), steps=20), DPBoostedTreesClassifier(3.0, trees=20)],
    ids=["linear", "network", "trees"],
)  # fmt: skip
def test_private_models_behind_parts_of_bounds_convert(last, classes):
    y = Y if classes == 2 else np.where(X[:, 1] > 1, 2, Y)
    model = make_pipeline(PARTS, clone(last).set_params(bounds=(0, 1))).fit(X, y)
    edges = np.asarray([[-3e5, -3, 0, 15000], [3e5, 3, 40, 20000], [1e9, -1e9, 41, -1]])
    rows = np.vstack([ROWS, edges, np.full((1, 4), np.nan)])
    session = onnxruntime.InferenceSession(exact_graph(model, 4))
    labels, chances = session.run(None, {"input": rows})
    assert np.abs(chances - model.predict_proba(rows)).max() < 1e-5  # the private part is in single precision
    assert (labels == model.predict(rows)).mean() > 0.998


def test_bounds_that_are_scalars_and_a_constant_filled_in_convert(tmp_path):
    filled = SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
    model = make_pipeline(filled, BoundsEncoder((-1e5, 1e5), bins=6), DPLogisticRegression(3.0, bounds=(0, 1))).fit(
        X, Y
    )
    joblib.dump(model, tmp_path / "m.joblib")
    np.save(tmp_path / "rows.npy", ROWS)
    answer = convert_sklearn({"model": tmp_path / "m.joblib", "rows": tmp_path / "rows.npy"}, tmp_path)
    assert answer["tool"] == "exact"
    assert answer["max_difference"] < 1e-5


def test_classes_may_be_text(tmp_path):
    joblib.dump(MODELS["histogram"].fit(X, np.where(Y == 1, "yes", "no")), tmp_path / "m.joblib")
    np.save(tmp_path / "rows.npy", ROWS)
    answer = convert_sklearn({"model": tmp_path / "m.joblib", "rows": tmp_path / "rows.npy"}, tmp_path)
    assert answer["label_agreement"] == 1.0


def test_the_graph_is_the_same_every_time():
    model = MODELS["forest"].fit(X, Y)
    assert exact_graph(model, 4) == exact_graph(model, 4)


def test_another_estimator_has_no_exact_form():
    with pytest.raises(NotImplementedError, match="GaussianNB"):
        exact_graph(GaussianNB().fit(X[:, 1:], Y), 3)


def test_what_cannot_be_converted_is_unsupported(tmp_path):
    joblib.dump(
        make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression(max_iter=5000)).fit(X, Y),
        tmp_path / "m.joblib",
    )
    np.save(tmp_path / "rows.npy", ROWS)
    with pytest.raises(UnsupportedError, match="cannot be converted"):
        convert_sklearn({"model": tmp_path / "m.joblib", "rows": tmp_path / "rows.npy"}, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_no_rows_are_refused(tmp_path):
    joblib.dump(MODELS["forest"].fit(X, Y), tmp_path / "m.joblib")
    np.save(tmp_path / "rows.npy", np.empty((0, 4)))
    with pytest.raises(DataError, match="real rows"):
        convert_sklearn({"model": tmp_path / "m.joblib", "rows": tmp_path / "rows.npy"}, tmp_path)

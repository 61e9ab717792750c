"""What may be handed to an assessment: frames, sparse rows, names of classes, an estimator to fit again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import assay
from assay.assessment.assessment import case_of, wanted_goals
from assay.contract.contract import Contract
from assay.core.errors import DataError, SettingError, UnsupportedError
from assay.flows.assess import shadow_fits

X, Y = load_wine(return_X_y=True)
NAMES = np.array(["barbera", "grignolino", "barolo"])


@pytest.mark.parametrize(
    "labels", [Y + 1, Y.astype(float) * 10, NAMES[Y], NAMES[Y].astype(object), pd.Series(NAMES[Y])]
)
def test_labels_are_what_the_model_calls_them(labels):
    model = RandomForestClassifier(5, random_state=0).fit(X, labels)
    case = case_of(model, train=(X[::2], labels[::2]), test=(X[1::2], labels[1::2]))
    assert (case.predictor.labels(case.x_train) == case.y_train).mean() > 0.9
    assert set(case.y_test) == {0, 1, 2}


@pytest.mark.parametrize("kind", [pd.DataFrame, scipy.sparse.csr_matrix, np.ndarray.tolist])
def test_rows_may_come_as_frames_lists_and_sparse(kind):
    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    case = case_of(model, train=(kind(X[::2]), Y[::2]), test=(kind(X[1::2]), Y[1::2]))
    assert np.array_equal(case.x_train, X[::2])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (NAMES[Y], "barbera"),
        (Y - 1, "Give"),
        (Y + 7, "labels go up to 9"),
        (Y * 0.5, "model does not name"),
        (None, "labels"),
    ],
)
def test_labels_that_a_function_cannot_know_are_refused_in_one_line(y, said):
    with pytest.raises(DataError, match=said) as caught:
        case_of(lambda rows: np.full((len(rows), 3), 1 / 3), train=(X, Y), test=(X, y))
    assert "\n" not in str(caught.value)


def test_words_without_a_contract_name_the_way_out():
    frame = pd.DataFrame({"town": ["Ulm", "Bonn"] * 10, "age": range(20)})
    with pytest.raises(DataError, match=r"Contract\.infer"):
        case_of(lambda rows: rows, train=(frame, np.arange(20) % 2), test=(frame, np.arange(20) % 2))


def test_a_pipeline_of_a_frame_with_words_is_audited_with_shadows():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": rng.choice(["Ulm", "Bonn", "Kiel"], 300), "age": rng.normal(50, 9, 300)})
    frame["ill"] = np.where(rng.random(300) < 0.5, "yes", "no")
    half, rest = frame[:150], frame[150:]
    contract = Contract.infer(frame, target="ill")
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough"),
        RandomForestClassifier(20, random_state=0),
    ).fit(half[["town", "age"]], half.ill)
    found = assay.assess(
        model, train=(half, None), test=(rest[["town", "age"]], rest.ill), contract=contract, refit=model,
        goals=["membership"],
    )  # fmt: skip
    assert found.measure("membership.auc@rmia").low > 0.7


def test_a_file_that_is_not_run_names_the_way_out(tmp_path):
    (tmp_path / "model.joblib").write_bytes(b"\x80\x05.")
    with pytest.raises(UnsupportedError, match=r"model\.joblib: is no file .* assay convert"):
        case_of(str(tmp_path / "model.joblib"), train=(X, Y), test=(X, Y))


def test_an_unknown_goal_names_goals_and_groups():
    with pytest.raises(SettingError, match=r"no goal 'privcy'.*membership.*or of: privacy"):
        wanted_goals(["privcy"])


def test_a_recipe_that_is_not_there_is_said_before_anything_is_measured():
    with pytest.raises(DataError, match=r"none\.py: does not exist"):
        shadow_fits("none.py:build", Contract.infer(pd.DataFrame({"a": range(9), "y": [0, 1, 0] * 3}), target="y"))

"""A converted model answers as the original does, and a hostile one is opened in the sandbox only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.contract.contract import Contract
from assay.core.errors import DataError, JobError
from assay.flows.convert import convert_file
from assay.models.predictor import predictor
from assay.training.engines.bubblewrap import Bubblewrap

ENGINE = "none" if Bubblewrap().available() else "bubblewrap"
MODELS = {
    "logistic": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(10, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=10, random_state=0),
}


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=150), "b": rng.lognormal(size=150), "n": rng.integers(0, 9, 150)})
    frame["y"] = (frame["a"] + frame["n"] / 9 > 0.4).astype(int)
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "contract.yaml").write_text(Contract.infer(frame, "y").to_yaml())
    return frame


@pytest.mark.parametrize("name", MODELS)
def test_the_converted_model_agrees(tmp_path, table, name):
    x = table.drop(columns="y").to_numpy(dtype=np.float64)
    model = MODELS[name].fit(x, table["y"])
    joblib.dump(model, tmp_path / "m.joblib")
    evidence = convert_file(
        tmp_path / "m.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o", engine=ENGINE
    )
    assert evidence.clean()
    made = predictor(tmp_path / "o" / "model.onnx")
    assert np.abs(made.probabilities(x) - model.predict_proba(x)).max() < 1e-5
    assert json.loads((tmp_path / "o" / "conversion.json").read_text())["parameters"]["parent"].startswith("sha256:")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.skipif(ENGINE == "none", reason="bubblewrap does not work on this machine")
def test_a_hostile_model_does_nothing_outside(tmp_path, table):
    joblib.dump(Evil(tmp_path / "owned"), tmp_path / "m.joblib")
    with pytest.raises(JobError):
        convert_file(
            tmp_path / "m.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o", engine=ENGINE
        )
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "o").exists()


def test_a_missing_model_is_refused(tmp_path, table):
    with pytest.raises(DataError, match="does not exist"):
        convert_file(tmp_path / "no.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o")


def test_what_has_no_onnx_form_is_refused(tmp_path, table):
    joblib.dump({"no": "model"}, tmp_path / "m.joblib")
    with pytest.raises(JobError):
        convert_file(
            tmp_path / "m.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o", engine=ENGINE
        )

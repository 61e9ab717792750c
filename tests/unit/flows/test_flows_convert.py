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

from assay.artifacts.derivation import verify_derivation
from assay.contract.contract import Contract
from assay.core.errors import DataError, JobError, Refused, SettingError, UnsupportedError, VerificationError
from assay.core.keys import PrivateKey
from assay.flows.convert import convert_file, convert_rows, ways
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
    with pytest.raises(Refused, match="is malicious"):
        convert_file(
            tmp_path / "m.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o", engine=ENGINE
        )
    with pytest.raises(JobError):
        convert_rows(tmp_path / "m.joblib", np.zeros((3, 2)), tmp_path / "o", engine=ENGINE)
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "o").exists()


def test_a_missing_model_is_refused(tmp_path, table):
    with pytest.raises(DataError, match="does not exist"):
        convert_file(tmp_path / "no.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o")


def test_what_has_no_onnx_form_is_refused(tmp_path, table):
    joblib.dump({"no": "model"}, tmp_path / "m.joblib")
    with pytest.raises(UnsupportedError):
        convert_file(
            tmp_path / "m.joblib", tmp_path / "t.csv", tmp_path / "contract.yaml", tmp_path / "o", engine=ENGINE
        )


def test_torch_weights_need_no_rows_and_leave_a_signed_derivation(tmp_path):
    import torch
    from safetensors.torch import load_file

    key = PrivateKey.generate()
    torch.save({"state_dict": {"w": torch.arange(3.0)}, "hook": Evil(tmp_path / "owned")}, tmp_path / "m.pt")
    evidence = convert_file(tmp_path / "m.pt", None, None, tmp_path / "o", key=key, engine=ENGINE)
    assert load_file(tmp_path / "o" / "model.safetensors")["w"].tolist() == [0.0, 1.0, 2.0]
    assert not (tmp_path / "owned").exists()
    assert [f.rule for f in evidence.findings] == ["convert-from-malicious"]
    found = verify_derivation(
        tmp_path / "o" / "derivation.json", tmp_path / "o" / "model.safetensors", [key.public], parent=tmp_path / "m.pt"
    )
    assert found.tool == "safetensors" and any("mkdir" in line for line in found.dropped)
    with pytest.raises(VerificationError):
        verify_derivation(tmp_path / "o" / "derivation.json", tmp_path / "m.pt", [key.public])


def test_what_has_no_graph_becomes_skops(tmp_path, table):
    from sklearn.neighbors import KNeighborsClassifier

    x = table.drop(columns="y").to_numpy(dtype=np.float64)
    joblib.dump(
        KNeighborsClassifier(algorithm="ball_tree", metric="canberra").fit(x, table["y"]), tmp_path / "m.joblib"
    )
    np.save(tmp_path / "rows.npy", x)
    evidence = convert_file(
        tmp_path / "m.joblib", tmp_path / "rows.npy", None, tmp_path / "o", to="skops", engine=ENGINE
    )
    assert evidence.subjects[0].name == "model.skops" and (tmp_path / "o" / "model.skops").is_file()


@pytest.mark.parametrize(
    ("label", "to"), [("onnx", "auto"), ("safetensors", "onnx"), ("joblib", "safetensors"), ("torch-zip", "skops")]
)
def test_what_is_not_converted_is_said(label, to):
    with pytest.raises(UnsupportedError, match="It is converted to"):
        ways(label, to)


def test_rows_are_needed_to_compare(tmp_path, table):
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "m.joblib")
    with pytest.raises(SettingError, match="real rows"):
        convert_file(tmp_path / "m.joblib", None, None, tmp_path / "o")
    (tmp_path / "rows.npy").write_bytes(b"no")
    with pytest.raises(DataError, match="no array"):
        convert_file(tmp_path / "m.joblib", tmp_path / "rows.npy", None, tmp_path / "o")
    assert not (tmp_path / "o").exists()

"""A private recipe leaves its claim in the provenance, the record and the evidence; a broken claim is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from assay.cli.main import main
from assay.contract.contract import Contract
from assay.core.digest import digest_bytes
from assay.core.errors import FormatError, JobError, Refused, UnsupportedError
from assay.core.evidence import Evidence, Subject
from assay.core.finding import Severity
from assay.core.measure import Verdict
from assay.core.statement import Envelope
from assay.flows import train as flow
from assay.flows.convert import convert_rows
from assay.flows.train import Job, audit_evidence, audit_line, train_table
from assay.training.private.audit import Audited
from assay.training.private.claim import STATEMENT_TYPE, measures_of
from assay.training.private.estimators import DPLogisticRegression
from assay.training.private.scaling import BoundsEncoder, private_part

RECIPE = """
from assay.training.private.estimators import DPLogisticRegression


def build(seed=0):
    return DPLogisticRegression(epsilon=2.0, bounds=(0, 5000), steps=20, classes=[0, 1], rows=560)
"""


def said(**changes):
    return {"type": STATEMENT_TYPE, "epsilon": {"low": 0.9, "high": 1.0}, "delta": 1e-5, "holds": True, **changes}


def test_the_claim_goes_into_record_and_provenance(tmp_path):
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "contract.yaml").write_text(Contract.infer(frame, "target").to_yaml())
    (tmp_path / "recipe.py").write_text(RECIPE)
    out = tmp_path / "out"
    record = train_table(f"{tmp_path / 'recipe.py'}:build", tmp_path / "t.parquet", tmp_path / "contract.yaml", out)
    assert record["privacy"]["holds"]
    assert measures_of(record["privacy"], 569)[0].against(at_most=2.0) is Verdict.PASS
    envelope = Envelope.from_json(json.loads((out / "provenance.json").read_text()))
    held = json.loads(envelope.payload)["predicate"]["buildDefinition"]["externalParameters"]["parameters"]["privacy"]
    assert held["epsilon"]["high"] <= 2.0


def test_a_scaler_that_learns_is_refused_before_training(tmp_path):
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "contract.yaml").write_text(Contract.infer(frame, "target").to_yaml())
    recipe = RECIPE.replace("return DP", "return make_pipeline(StandardScaler(), DP").rstrip() + ")\n"
    imports = "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
    (tmp_path / "recipe.py").write_text(imports + recipe)
    with pytest.raises(JobError, match="learns from the private rows"):
        train_table(
            f"{tmp_path / 'recipe.py'}:build", tmp_path / "t.parquet", tmp_path / "contract.yaml", tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_missing_values_name_what_takes_them():
    rows = np.asarray([[0.0, np.nan], [1.0, 2.0]] * 20)
    with pytest.raises(ValueError, match=r"NaN.*BoundsEncoder"):
        DPLogisticRegression(bounds=(0, 2)).fit(rows, [0, 1] * 20)


def test_steps_that_learn_nothing_are_admitted():
    last = DPLogisticRegression()
    assert private_part(make_pipeline(BoundsEncoder(), Normalizer(), "passthrough", last)) is last
    assert private_part(last) is last
    assert private_part(make_pipeline(StandardScaler(), LogisticRegression())) is None
    filled = SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
    assert private_part(make_pipeline(filled, last)) is last
    for learns in (SimpleImputer(), SimpleImputer(strategy="constant", fill_value=0.0, add_indicator=True)):
        with pytest.raises(Refused, match="BoundsEncoder"):
            private_part(make_pipeline(learns, last))
    with pytest.raises(Refused) as caught:
        private_part(make_pipeline(StandardScaler(), last))
    assert caught.value.reason == "data-dependent-normaliser"


def test_a_claim_that_does_not_hold_is_void():
    measure = measures_of(said(holds=False, why_not="the noise came from a seed"), 10)[0]
    assert measure.against(at_most=5.0) is Verdict.VOID
    assert "seed" in measure.void


@pytest.mark.parametrize(
    "broken",
    [
        None, [], {}, said(type="x"), said(epsilon=None), said(epsilon={}), said(epsilon={"low": "0", "high": 1.0}), said(delta="x"),
        said(holds="yes"), said(epsilon={"low": 2.0, "high": 1.0}), said(epsilon={"low": 0.0, "high": float("inf")}),
    ],
)  # fmt: skip
def test_a_broken_claim_is_refused(broken):
    with pytest.raises(FormatError):
        measures_of(broken, 10)


# --- the audit of it


SOUND = Audited(1.0, 1e-5, 0.2, 20, 14, 200, 0.95, {"noise-size": 0.4, "clip": 0.7}, 3)


def job():
    return Job("recipe.py:build", np.zeros((4, 2)), np.zeros(4, int))


def subjects():
    return (Subject("model.joblib", digest_bytes(b"m")),)


def audited_by(monkeypatch, answer):
    def run(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(flow, "audit", run)
    return audit_evidence(said(), job(), subjects(), lambda: datetime(2026, 1, 1, tzinfo=timezone.utc))


def test_a_sound_audit_is_clean_evidence(monkeypatch):
    found = audited_by(monkeypatch, SOUND.to_json())
    assert found.clean()
    assert found.measures[0].low == 0.2
    assert found.measures[0].high == 1.0
    assert "all checks hold" in audit_line(found)
    assert Audited.from_json(SOUND.to_json()) == SOUND


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"lower": 1.5}, "dp-epsilon"), ({"p_values": {"noise-size": 0.0}}, "dp-noise-size"), ({"p_values": {"splits": 0.0}}, "dp-splits")],
)  # fmt: skip
def test_a_failed_audit_is_a_finding_that_refuses(monkeypatch, changes, rule):
    found = audited_by(monkeypatch, replace(SOUND, **changes).to_json())
    assert {f.rule for f in found.findings} == {rule}
    assert not found.clean(Severity.HIGH)
    assert rule in audit_line(found)


@pytest.mark.parametrize(
    "answer",
    [
        JobError("the job ran longer than 600 seconds and was stopped"), UnsupportedError("there is no audit of a Thing"),
        {}, {"answer": 3}, {**SOUND.to_json(), "p_values": {}}, {**SOUND.to_json(), "p_values": {"luck": 0.5}},
        {**SOUND.to_json(), "p_values": {"clip": 2.0}}, {**SOUND.to_json(), "p_values": {"clip": "0.5"}},
        {**SOUND.to_json(), "epsilon_lower": -1.0}, {**SOUND.to_json(), "epsilon_claimed": float("nan")},
        {**SOUND.to_json(), "delta": 0.0}, {**SOUND.to_json(), "guesses": True}, {**SOUND.to_json(), "seed": -1},
        {**SOUND.to_json(), "epsilon_claimed": 2.0},
    ],
    ids=lambda a: type(a).__name__,
)  # fmt: skip
def test_what_could_not_be_audited_is_said(monkeypatch, answer):
    found = audited_by(monkeypatch, answer)
    assert not found.complete
    assert found.not_checked[0].remedy


def test_an_audit_that_was_switched_off_is_said_and_no_claim_needs_none():
    off = audit_evidence(said(), job(), subjects(), lambda: datetime(2026, 1, 1, tzinfo=timezone.utc), wanted=False)
    assert "switched off" in off.not_checked[0].why
    assert "switched off" in audit_line(off)
    assert audit_evidence(None, job(), subjects(), lambda: datetime(2026, 1, 1, tzinfo=timezone.utc)) is None


TORCH = """
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from assay.training.private.torch_trainer import PrivateTrainer


class Net(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        x = torch.tensor(np.clip(X / 500, -1, 1), dtype=torch.float32)
        module = torch.nn.Sequential(torch.nn.Linear(X.shape[1], 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        self.trainer = PrivateTrainer(module, rows=560, steps=10, rate=0.5, epsilon=2.0)
        self.module = self.trainer.fit(x, torch.tensor(y))
        return self

    def predict_proba(self, X):
        return torch.softmax(self.module(torch.tensor(X, dtype=torch.float32)), 1).detach().numpy()

    def __getstate__(self):
        return {}


def build(seed=0):
    return Net()
"""


@pytest.mark.parametrize(
    ("recipe", "arguments", "words"), [(TORCH, [], "all checks hold"), (RECIPE, ["--no-audit"], "switched off")]
)
def test_the_command_line_trains_and_audits(tmp_path, capsys, recipe, arguments, words):
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "contract.yaml").write_text(Contract.infer(frame, "target").to_yaml())
    (tmp_path / "recipe.py").write_text(recipe)
    files = [str(tmp_path / name) for name in ("recipe.py", "t.parquet", "contract.yaml", "out")]
    words_of = ["train", files[0], files[1], "--contract", files[2], "-o", files[3], *arguments]
    with pytest.raises(SystemExit) as left:
        main(words_of)
    assert left.value.code == 0
    assert words in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["privacy"]["epsilon"]["high"] <= 2.0
    assert Evidence.from_json(record["privacy_audit"]).control == "privacy.audit"
    held = json.loads(Envelope.from_json(json.loads((tmp_path / "out" / "provenance.json").read_text())).payload)
    parameters = held["predicate"]["buildDefinition"]["externalParameters"]["parameters"]
    assert parameters["privacy_audit"] == record["privacy_audit"]


OWN = """
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from assay.training.private.torch_trainer import PrivateTrainer
from assay.training.robust.export import onnx_bytes


class Net(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        self.module_ = torch.nn.Linear(X.shape[1], 2)
        self.trainer_ = PrivateTrainer(self.module_, rows=100, rate=0.2, steps=3, epsilon=3.0)
        self.trainer_.fit(torch.tensor(X, dtype=torch.float32), torch.tensor(np.asarray(y), dtype=torch.long))
        return self

    def predict_proba(self, X):
        with torch.no_grad():
            return torch.softmax(self.module_(torch.tensor(X, dtype=torch.float32)).double(), 1).numpy()

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]

    def onnx_bytes(self):
        return onnx_bytes(self.module_, self.classes_, (self.module_.in_features,))


def build():
    return Net()
"""


@pytest.mark.long
def test_a_class_of_the_recipe_is_converted_with_its_recipe_and_named_without(tmp_path):
    (tmp_path / "recipe.py").write_text(OWN)
    x = np.random.default_rng(0).random((100, 3))
    recipe = f"{tmp_path / 'recipe.py'}:build"
    Job(recipe, x, (x[:, 0] > 0.5).astype(np.intp)).train(tmp_path / "made")
    model = tmp_path / "made" / "model.joblib"
    found = convert_rows(model, x, tmp_path / "onnx", recipe=recipe)
    assert found.measure("max_probability_difference").estimate < 1e-5
    with pytest.raises(UnsupportedError, match="module assay_recipe"):
        convert_rows(model, x, tmp_path / "other")

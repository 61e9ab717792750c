"""A private recipe leaves its claim in the provenance, the record and the evidence; a broken claim is refused."""

from __future__ import annotations

import json

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from assay.contract.contract import Contract
from assay.core.errors import FormatError, JobError, Refused
from assay.core.measure import Verdict
from assay.core.statement import Envelope
from assay.flows.train import train_table
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


def test_steps_that_learn_nothing_are_admitted():
    last = DPLogisticRegression()
    assert private_part(make_pipeline(BoundsEncoder(), Normalizer(), "passthrough", last)) is last
    assert private_part(last) is last
    assert private_part(make_pipeline(StandardScaler(), LogisticRegression())) is None
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

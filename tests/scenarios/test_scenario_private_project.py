"""A private recipe through `assay run`: its claim and its audit stand in evidence, gate, report and bill of materials."""

from __future__ import annotations

import json

import pytest
from sklearn.datasets import load_breast_cancer

from assay.core.evidence import Evidence
from assay.core.measure import Verdict
from assay.flows.bom import make_bom
from assay.flows.project import Project
from assay.flows.quickstart import project_of
from assay.flows.run import run_project
from assay.registry.policy import Policy

RECIPE = """
from assay.training.private import dpsgd, noise
from assay.training.private.estimators import DPLogisticRegression


def build(seed=0):
    return DPLogisticRegression(epsilon=3.0, bounds=(0, 5000), steps=20, classes=[0, 1], rows=390)
"""
LOUDER = """
import numpy as np


class Louder(noise.Noise):
    def normal(self, *shape):
        return super().normal(*shape) * np.float32(0.4)


import assay.training.private.estimators as held
held.Noise = Louder
"""
POLICY = """
measures:
  - {measure: quality.auc, at_least: 0.5}
  - {measure: "epsilon@*", at_most: 3.0}
require: [training, {control: privacy.audit, optional: true}]
"""


def silent(*_):
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    import pyarrow as pa

    root = tmp_path_factory.mktemp("private")
    frame = load_breast_cancer(as_frame=True).frame
    project_of(pa.Table.from_pandas(frame), "target", root, name="cells", author="ada", report=silent)
    (root / "recipe.py").write_text(RECIPE)
    (root / "policy.yaml").write_text(POLICY)
    return root


@pytest.fixture(scope="module")
def ran(root):
    return run_project(Project.read(root), report=silent)


def evidence_of(result, control="privacy.audit"):
    return next(e for e in result.assessment.evidence if e.control == control)


def switch(root, text):
    config = (root / "assay.yaml").read_text()
    base = config.replace("model:\n  privacy_audit: false\n", "model:\n")
    (root / "assay.yaml").write_text(base.replace("model:\n", f"model:\n{text}"))


def test_the_audit_stands_beside_the_claim(ran):
    found = evidence_of(ran)
    assert found.complete
    assert not found.findings
    lower, claimed = found.measures[0], evidence_of(ran, "training").measures[0]
    assert lower.low <= lower.high == claimed.high <= 3.0
    assert {s.name for s in found.subjects} >= {"model.onnx", "model.joblib", "train.parquet"}
    stage = next(s for s in ran.stages if s.name == "privacy audit")
    assert "all checks hold" in stage.detail
    assert ran.gate.verdict in {Verdict.PASS, Verdict.UNCERTAIN}


def test_report_and_bill_carry_it(ran, root):
    assert lower_name(ran) in (root / "report.html").read_text()
    text = json.dumps(make_bom(root).to_json())
    assert lower_name(ran) in text
    assert "epsilon@delta1e-05" in text


def lower_name(ran):
    return evidence_of(ran).measures[0].name


def test_without_the_audit_the_gate_that_asks_for_it_is_shut(ran, root):
    before = (root / ".assay" / "train" / "model.joblib").read_bytes()
    switch(root, "  privacy_audit: false\n")
    result = run_project(Project.read(root), report=silent)
    switch(root, "")
    assert "switched off" in evidence_of(result).not_checked[0].why
    assert result.gate.verdict is Verdict.NOT_CHECKED
    # Nothing was trained, and so nothing spent, a second time.
    assert (root / ".assay" / "train" / "model.joblib").read_bytes() == before


def test_a_training_with_less_noise_than_claimed_is_refused(ran, root):
    (root / "recipe.py").write_text(RECIPE.replace("\n\n\ndef", f"\n{LOUDER}\n\ndef"))
    result = run_project(Project.read(root), report=silent)
    (root / "recipe.py").write_text(RECIPE)
    assert {f.rule for f in evidence_of(result).findings} >= {"dp-noise-size"}
    assert result.gate.verdict is Verdict.FAIL


def test_the_default_policy_holds_private_recipes_to_an_epsilon():
    from assay.registry.policy import DEFAULT_POLICY

    policy = Policy.from_yaml(DEFAULT_POLICY)
    assert any(r.matches("epsilon@delta1e-05") and r.optional for r in policy.rules)
    assert policy.complete == ("privacy.audit",)


def test_evidence_survives_its_record(ran):
    found = evidence_of(ran)
    assert Evidence.from_json(found.to_json()) == found

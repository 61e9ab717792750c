"""What recipes with Assay's own estimators save passes the scan that a signature asks for; the rest of Assay does not."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from assay.core.errors import Refused
from assay.flows.sign import make_key, sign
from assay.training.private.crossfit import CrossFitted
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.scaling import BoundsEncoder
from assay.training.private.trees import DPBoostedTreesClassifier
from assay.training.robust.boosted import RobustBoostedTrees

X = np.random.default_rng(0).uniform(size=(80, 4))
Y = (X[:, 0] > 0.5).astype(int)


@pytest.fixture
def key(tmp_path):
    make_key(tmp_path / "k")
    return tmp_path / "k"


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(BoundsEncoder((0, 1)), DPLogisticRegression(bounds=(0, 1), steps=3)),
        DPMLPClassifier(bounds=(0, 1), steps=3, clip_kind="adaptive"),
        DPBoostedTreesClassifier(bounds=(0, 1), trees=3),
        CrossFitted(RandomForestClassifier(3)),
        RobustBoostedTrees(n_estimators=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_of_ours_is_signed_as_clean(tmp_path, key, model):
    (tmp_path / "model").mkdir()
    joblib.dump(model.fit(X, Y), tmp_path / "model" / "model.joblib")
    assert sign(tmp_path / "model", key).scan == "clean"


@pytest.mark.parametrize(
    "data",
    [
        b"cassay.core.files\nwrite_text\n(S'x'\nS'y'\ntR.",
        b"cassay.training.private.votes\nPrivateVotes\n)R.",
        b"cassay.training.private.scaling\nBoundsEncoder.fit\n(S'x'\ntR.",
    ],
    ids=["function", "votes", "method"],
)
def test_other_names_of_ours_are_refused(tmp_path, key, data):
    (tmp_path / "m.pkl").write_bytes(data)
    with pytest.raises(Refused, match="malicious"):
        sign(tmp_path / "m.pkl", key)

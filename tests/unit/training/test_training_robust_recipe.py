"""A recipe may return an adversarially trained network: it is fitted and converted in the sandbox like any other."""

from __future__ import annotations

import numpy as np
import pytest
from test_training_job import ENGINES

from assay.models.predictor import predictor
from assay.training.job import call, train

pytest.importorskip("torch")

RECIPE = """
from assay.training.robust.adversarial import AdversarialClassifier

def build(seed=0):
    return AdversarialClassifier(radius=0.2, scale="deviation", epochs=3, steps=2, threads=1, random_state=seed)
"""


def test_a_robust_recipe_trains_and_converts(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 4)) + 2.0 * np.eye(4)[y]
    (tmp_path / "recipe.py").write_text(RECIPE)
    trained = train(f"{tmp_path / 'recipe.py'}:build", x, y, output=tmp_path / "out", engine=ENGINES[0])
    rows = tmp_path / "rows.npy"
    np.save(rows, x)
    answer, _ = call(
        "assay.artifacts.convert:convert_sklearn", {"model": str(trained.model), "rows": str(rows)},
        inputs=(trained.model, rows), output=tmp_path / "onnx", engine=ENGINES[0],
    )  # fmt: skip
    assert answer["tool"] == "own"
    assert answer["max_difference"] < 1e-5
    assert answer["label_agreement"] == 1.0
    assert (predictor(str(tmp_path / "onnx" / "model.onnx")).labels(x) == y).mean() > 0.8

"""Fits on parts of the data, the default recipe, and the provenance that a training leaves."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import datetime, timezone

import numpy as np
import pytest
from test_training_job import ENGINES

from assay.core.digest import digest_bytes
from assay.core.errors import DataError, JobError, UnsupportedError
from assay.core.evidence import Subject
from assay.core.statement import Statement
from assay.models.refit import LocalRefit
from assay.training.isolation import Limits, choose
from assay.training.job import call, train
from assay.training.provenance import code_of, environment, provenance
from assay.training.recipes import DEFAULT_RECIPE
from assay.training.refit import IsolatedRefit

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
each = pytest.mark.parametrize("engine", [e for e in ENGINES if e != "none"] or ["none"])


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=400), rng.integers(-1, 4, 400).astype(float), rng.normal(size=400)])
    y = ((x[:, 0] > 0) ^ (x[:, 1] == 2)).astype(int)
    x[::9, 2] = np.nan
    return x, y


def test_the_default_recipe_trains_and_converts_exactly(tmp_path, table):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(DEFAULT_RECIPE)
    trained = train(f"{recipe}:build", *table, output=tmp_path / "out", categorical=[1], engine=ENGINES[0])
    rows = tmp_path / "rows.npy"
    unseen = np.vstack([table[0], [[np.nan, 9, 1], [0.5, np.nan, np.nan]]])
    np.save(rows, unseen)
    answer, _ = call(
        "assay.artifacts.convert:convert_sklearn", {"model": str(trained.model), "rows": str(rows)},
        inputs=(trained.model, rows), output=tmp_path / "onnx", engine=ENGINES[0],
    )  # fmt: skip
    assert answer["max_difference"] < 1e-6
    assert answer["label_agreement"] == 1.0
    assert (tmp_path / "onnx" / "model.onnx").is_file()


def test_a_model_without_onnx_form_is_unsupported(tmp_path, table):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "class Odd:\n    def fit(self, x, y):\n        return self\n    def predict_proba(self, x):\n        pass\n"
        "def build():\n    return Odd()\n"
    )
    with pytest.raises((JobError, UnsupportedError)) as caught:
        trained = train(f"{recipe}:build", *table, output=tmp_path / "out", engine=ENGINES[0])
        call(
            "assay.artifacts.convert:convert_sklearn", {"model": str(trained.model), "rows": "x"},
            inputs=(trained.model,), output=tmp_path / "onnx", engine=ENGINES[0],
        )  # fmt: skip
    assert "\n" not in caught.value.line()
    assert not (tmp_path / "onnx").exists()


def test_both_refits_answer_in_one_shape(tmp_path, table):
    from sklearn.linear_model import LogisticRegression

    x, y = np.nan_to_num(table[0]), table[1]
    (tmp_path / "r.py").write_text(
        "from sklearn.linear_model import LogisticRegression\ndef build():\n    return LogisticRegression()\n"
    )
    sets = [(np.arange(0, 200), y[:200]), (np.arange(100, 300), y[100:300])]
    isolated = IsolatedRefit(f"{tmp_path / 'r.py'}:build", engine=ENGINES[0]).probabilities(sets, x, x[:5], seed=0)
    local = LocalRefit(LogisticRegression(), 2).probabilities(sets, x, x[:5], seed=0)
    assert isolated.shape == local.shape == (2, 5, 2)
    np.testing.assert_allclose(isolated, local, atol=1e-6)


def test_no_sets_are_refused(table):
    with pytest.raises(DataError, match="nothing to fit"):
        IsolatedRefit("r.py:build").probabilities([], table[0], table[0], seed=0)


@each
def test_nothing_survives_a_job_out_of_time(tmp_path, table, engine):
    (tmp_path / "r.py").write_text(
        "import os, time\ndef build():\n    os.fork()\n    if os.fork() == 0:\n        os.setsid()\n"
        "    while True:\n        time.sleep(0.05)\n"
    )
    with pytest.raises(JobError, match="longer than"):
        train(f"{tmp_path / 'r.py'}:build", *table, output=tmp_path / "o", engine=engine, limits=Limits(seconds=2))
    time.sleep(0.5)
    found = subprocess.run(["ps", "axwwo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in found
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.py"]


@each
def test_too_much_output_is_refused(tmp_path, table, engine):
    (tmp_path / "r.py").write_text(
        "def build():\n    for i in range(3):\n        open(f'f{i}', 'wb').write(bytes(1 << 20))\n    raise SystemExit\n"
    )
    with pytest.raises(JobError, match="more than 2 MiB"):
        train(f"{tmp_path / 'r.py'}:build", *table, output=tmp_path / "o", engine=engine, limits=Limits(output_mb=2))


def test_landlock_works_without_bubblewrap(monkeypatch, tmp_path):
    if "landlock" not in ENGINES:
        pytest.skip("Landlock does not work on this machine")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose("auto").name == "landlock"


def test_provenance_names_code_data_and_isolation(tmp_path):
    (tmp_path / "recipe.py").write_text(DEFAULT_RECIPE)
    statement = provenance(
        Subject("model.joblib", digest_bytes(b"m")), recipe=f"{tmp_path / 'recipe.py'}:build",
        datasets={"train": digest_bytes(b"t")}, seed=2**60, isolation={"engine": "landlock", "network": "none"},
        started=NOW, finished=NOW, who="ada",
    )  # fmt: skip
    assert Statement.from_json(statement.to_json()) == statement
    names = [d["name"] for d in statement.predicate["buildDefinition"]["resolvedDependencies"]]
    assert names == ["recipe.py", "train", "environment"]
    assert statement.predicate["runDetails"]["metadata"]["invokedBy"] == "ada"
    assert any(line.startswith("numpy==") for line in environment())


def test_uncommitted_code_is_said_to_be_dirty(tmp_path):
    assert code_of(tmp_path).commit == ""
    run = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "a.py").write_text("1")
    for arguments in (["init", "-q"], ["add", "a.py"], ["commit", "-qm", "one"]):
        subprocess.run([*run, *arguments], check=True, capture_output=True)
    assert not code_of(tmp_path).dirty
    (tmp_path / "a.py").write_text("2")
    assert code_of(tmp_path).dirty
    assert len(code_of(tmp_path).commit) == 40


@each
def test_processes_are_bounded(tmp_path, table, engine):
    if engine == "none" or (engine == "bubblewrap" and os.getuid() == 0):
        pytest.skip("the kernel bounds no processes of root; Landlock's supervisor does")
    (tmp_path / "r.py").write_text(
        "import os, time\ndef build():\n    for _ in range(120):\n        if os.fork() == 0:\n            time.sleep(5)\n"
        "            os._exit(0)\n"
    )
    with pytest.raises(JobError, match="BlockingIOError"):
        train(f"{tmp_path / 'r.py'}:build", *table, output=tmp_path / "o", engine=engine, limits=Limits(processes=40))

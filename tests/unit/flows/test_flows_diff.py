"""Comparing files of versions, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.tree import DecisionTreeClassifier

from assay.cli.main import app
from assay.contract.contract import Contract
from assay.core.errors import SettingError
from assay.flows.diff import compare_files

RECIPE = """
from sklearn.tree import DecisionTreeClassifier


def build(seed=0):
    return DecisionTreeClassifier(max_depth=4, random_state=seed)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diff")
    frame: pd.DataFrame = load_breast_cancer(as_frame=True).frame.iloc[:, [0, 1, 2, 3, -1]]
    frame.columns = ["radius", "texture", "perimeter", "area", "target"]
    order = np.random.default_rng(0).permutation(len(frame))
    train, test = frame.iloc[order[:350]], frame.iloc[order[350:]]
    train.to_parquet(folder / "train.parquet")
    test.to_parquet(folder / "test.parquet")
    (folder / "contract.yaml").write_text(Contract.infer(frame, "target").to_yaml())
    (folder / "recipe.py").write_text(RECIPE)
    x, y = train.iloc[:, :4].to_numpy(np.float32), train["target"].to_numpy()
    for name, rows in (("old", 350), ("new", 14)):
        model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(x[:rows], y[:rows])
        graph = to_onnx(model, x[:1], options={"zipmap": False})
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    return folder


def _command(place: Path, *more: str) -> list[str]:
    files = ["--test", str(place / "test.parquet"), "--contract", str(place / "contract.yaml")]
    return ["compare", str(place / "old.onnx"), str(place / "new.onnx"), *files, *more]


def test_the_command_says_what_parts_two_files_and_what_it_did_not_check(place: Path) -> None:
    report = place / "report.html"
    result = CliRunner().invoke(app, _command(place, "--json", "--report", str(report)))
    record = json.loads(result.stdout)
    names = {m["name"] for m in record["measures"]}
    assert {"version_diff.auc", "version_diff.churn", "version_diff.parted@any,beam_500"} <= names
    assert [s["name"] for s in record["subjects"]] == ["old: old.onnx", "new: new.onnx"]
    assert [n["what"] for n in record["not_checked"]] == ["version_diff.backdoor"]
    assert any(f["rule"] == "version-regression" for f in record["findings"])
    assert result.exit_code == 1
    assert "The nearest inputs on which the versions differ" in report.read_text()


@pytest.mark.long
def test_a_recipe_gives_clean_versions_from_the_sandbox(place: Path) -> None:
    told: list[str] = []
    found = compare_files(
        str(place / "old.onnx"), str(place / "new.onnx"), place / "test.parquet", place / "contract.yaml",
        train=place / "train.parquet", recipe=f"{place / 'recipe.py'}:build", refits=2, clean=[place / "old.onnx"],
        progress=told.append,
    )  # fmt: skip
    assert told[:2] == ["clean version 1 of 2", "clean version 2 of 2"]
    assert found.screened is not None
    assert len(found.screened.clean) == 3
    assert found.evidence.measure("version_diff.membership_auc@confidence") is not None
    # Three clean versions are too few to say anything at 5 %.
    assert "19 or more" in found.evidence.not_checked[0].remedy


def test_a_recipe_without_trusted_rows_is_refused(place: Path) -> None:
    with pytest.raises(SettingError):
        compare_files(
            str(place / "old.onnx"), str(place / "new.onnx"), place / "test.parquet", place / "contract.yaml", recipe="r.py:build"
        )  # fmt: skip


def test_the_matrix_of_a_file_is_printed_and_reported(place: Path) -> None:
    report = place / "matrix.html"
    files = ["--train", str(place / "train.parquet"), "--test", str(place / "test.parquet")]
    more = ["--contract", str(place / "contract.yaml"), "--only", "labels only", "--rows", "20", "--queries", "60"]
    result = CliRunner().invoke(app, ["side-effects", str(place / "old.onnx"), *files, *more, "--report", str(report)])
    assert result.exit_code == 3, result.output
    assert "labels only" in result.stdout
    assert "the model cannot be fitted again" in result.stdout
    assert "What each defence does to every risk" in report.read_text()

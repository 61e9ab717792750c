"""A project file is read strictly: every mistake is one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.core.errors import DataError, InputError
from assay.flows.project import Project

GOOD = """
project: demo
data: {train: train.csv, test: test.csv, contract: contract.yaml}
model: {recipe: recipe.py:build}
policy: policy.yaml
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train.csv", "test.csv", "contract.yaml", "policy.yaml", "recipe.py"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "assay.yaml").write_text(GOOD)
    return tmp_path


def test_reads_a_project(folder):
    project = Project.read(folder)
    assert project.recipe == f"{folder / 'recipe.py'}:build"
    assert project.release == folder / "release"
    assert project.database.endswith(".assay/assay.sqlite")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("project: demo", "projekt: demo", "unknown key 'projekt'"),
        ("train: train.csv", "train: absent.csv", "data.train does not exist"),
        ("train: train.csv, ", "", "data.train is missing"),
        (
            "recipe: recipe.py:build",
            "recipe: recipe.py:build, privacy_audit: perhaps",
            "model.privacy_audit is 'perhaps'",
        ),
        ("recipe: recipe.py:build", "recipe: other.py:build", "recipe does not exist"),
        ("{recipe: recipe.py:build}", "{}", "either recipe or artifact"),
        ("{recipe: recipe.py:build}", "[1, 2]", "model should be a record"),
        ("project: demo", "project: [", "not valid YAML"),
        ("project: demo", "seed: many", "seed should be a whole number"),
        ("policy: policy.yaml", "policy: gone.yaml", "policy does not exist"),
    ],
)
def test_refuses_a_mistake_in_one_line(folder, old, new, words):
    (folder / "assay.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises((DataError, InputError)) as caught:
        Project.read(folder)
    assert words in caught.value.line()
    assert "\n" not in caught.value.line()


def test_says_what_to_do_without_a_project(tmp_path):
    with pytest.raises(DataError, match="assay init"):
        Project.read(tmp_path)

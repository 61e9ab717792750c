from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from assay.cli.main import app
from assay.contract.contract import Contract, Feature, Identifier, Kind, Target
from assay.core.errors import DataError

RNG = np.random.default_rng(2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"a": RNG.normal(size=200), "town": ["x", "y"] * 100, "y": ["0", "1"] * 100})
    table.to_csv("train.csv", index=False)
    table.assign(a=RNG.normal(size=200)).to_csv("test.csv", index=False)
    table.assign(mail=[f"p{i}@x.example" for i in range(200)]).to_csv("mails.csv", index=False)
    columns = (Feature("a", Kind.NUMBER), Feature("town", Kind.TEXT, identifier=Identifier.QUASI))
    (tmp_path / "contract.yaml").write_text(Contract(Target("y", ("0", "1")), columns).to_yaml())
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["data", "privacy", *words])


def test_a_table_that_gives_nothing_away_is_clean(folder):
    result = run("train.csv", "--test", "test.csv")
    assert result.exit_code == 0, result.output
    assert "k_anonymity" in result.output and "test_rows_that_fit_one_train_row" in result.output


def test_one_json_document_with_what_was_looked_at(folder):
    result = run("mails.csv", "--json")
    record = json.loads(result.stdout)
    assert [s["name"] for s in record["subjects"]] == ["mails.csv"]
    # The contract does not know the column, so no model gets it: a note.
    assert {f["rule"]: f["severity"] for f in record["findings"]}["personal-email"] == "note"
    assert "p7@" not in result.stdout


def test_a_feature_that_names_people_is_a_finding(folder):
    contract = Contract.read("contract.yaml")
    made = Contract(contract.target, (*contract.columns, Feature("mail", Kind.TEXT)))
    (folder / "contract.yaml").write_text(made.to_yaml())
    assert run("mails.csv").exit_code == 1


def test_without_quasi_identifiers_something_is_not_checked(folder):
    contract = Contract.read("contract.yaml").with_column("town", identifier=Identifier.NO)
    (folder / "contract.yaml").write_text(contract.to_yaml())
    assert run("train.csv").exit_code == 3


def test_a_missing_table_is_one_line(folder):
    error = run("none.csv").exception
    assert isinstance(error, DataError)
    assert (error.exit_code, error.message) == (2, "does not exist")

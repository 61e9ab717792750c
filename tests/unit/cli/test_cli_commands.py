"""The program as a user meets it: help, exit codes, one line for every mistake, one document for --json."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
from click.testing import CliRunner

from assay.cli.main import app, main


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("true",)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "clean.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    rows = "\n".join(f"{i % 7},{'red' if i % 2 else 'blue'},{i % 2}" for i in range(80))
    (tmp_path / "t.csv").write_text(f"size,colour,y\n{rows}\n")
    return tmp_path


def test_every_command_explains_itself():
    for name in app.list_commands(app.make_context("assay", ["--help"], resilient_parsing=True)):
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert len(shown.output) > 100


def test_a_clean_file_passes(capsys, files):
    code, out, _ = run(capsys, "scan", str(files / "clean.pkl"), "--json")
    assert code == 0
    assert json.loads(out)["files"][0]["verdict"] == "clean"


def test_a_malicious_file_fails_and_says_why(capsys, files):
    code, out, _ = run(capsys, "scan", str(files / "evil.pkl"))
    assert code == 1
    assert "malicious" in out
    assert "system" in out


def test_sarif_is_written(capsys, files):
    code, _, _ = run(capsys, "scan", str(files), "--sarif", str(files / "out.sarif"))
    assert code == 1
    assert json.loads((files / "out.sarif").read_text())["version"] == "2.1.0"


def test_infers_and_checks(capsys, files):
    contract = str(files / "contract.yaml")
    assert run(capsys, "data", "infer", str(files / "t.csv"), "--target", "y", "-o", contract)[0] == 0
    assert run(capsys, "data", "check", str(files / "t.csv"), "--contract", contract)[0] == 0
    text = (files / "t.csv").read_text().replace("red", "green", 1)
    (files / "bad.csv").write_text(text)
    code, out, _ = run(capsys, "data", "check", str(files / "bad.csv"), "--contract", contract, "--json")
    assert code == 1
    assert json.loads(out)["findings"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scan", "absent.pkl"], "absent.pkl: does not exist"),
        (["data", "infer", "absent.csv", "--target", "y"], "absent.csv"),
        (["data", "infer", "{t}", "--target", "z"], "the table has no such column"),
        (["data", "check", "{t}", "--contract", "absent.yaml"], "absent.yaml"),
        (["train", "absent.py", "{t}", "--contract", "absent.yaml"], "absent.yaml"),
        (["scan"], "Missing argument"),
        (["fly"], "No such command"),
        (["scan", "--fast", "x"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(capsys, files, arguments, words):
    code, out, err = run(capsys, *(a.format(t=files / "t.csv") for a in arguments))
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert out == ""


def test_an_error_is_a_document_under_json(capsys):
    code, out, _ = run(capsys, "scan", "absent.pkl", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "data"


def test_importing_and_helping_load_nothing_heavy():
    heavy = "numpy, sklearn, torch, pandas, pyarrow, duckdb, onnxruntime, sqlalchemy, matplotlib, rich, cryptography"
    code = (
        "import sys, assay\nfrom assay.cli.main import app\n"
        "from click.testing import CliRunner\nassert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print([n for n in '{heavy}'.split(', ') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

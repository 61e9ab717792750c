"""Incidents from the command line: opened, followed step by step, closed by name."""

from __future__ import annotations

import json

import pytest

from assay.cli.main import main


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["incident", *arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_an_incident_from_start_to_end(capsys, tmp_path):
    where = ("--dir", str(tmp_path))
    code, out, _ = run(capsys, "open", "scores drifted", "--playbook", "drift", "--by", "ada", "--json", *where)
    assert code == 0
    made = json.loads(out)
    for step in made["steps"]:
        assert run(capsys, "done", made["id"], step["name"], "--by", "ada", *where)[0] == 0
    assert run(capsys, "show", made["id"], *where)[0] == 0
    assert run(capsys, "close", made["id"], "--by", "bob", "--reason", "retrained", *where)[0] == 0
    assert json.loads(run(capsys, "list", "--json", "--open", *where)[1]) == {"incidents": []}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "INC-9999"), "no such incident"),
        (("show", "../../etc/passwd"), "incident"),
        (("open", "x", "--playbook", "nonsense", "--by", "ada"), "nonsense"),
        (("close", "INC-0001", "--by", "ada"), "Missing option"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, arguments, words):
    code, _, err = run(capsys, *arguments, "--dir", str(tmp_path))
    assert code == 2
    assert words in err
    assert err.count("\n") == 1

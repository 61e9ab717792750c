"""``assay deps check``: its exit codes, its JSON document and its SARIF."""

from __future__ import annotations

import json

import pytest

from assay.cli.main import main

HASHED = f"numpy==2.0.0 --hash=sha256:{'a' * 64}\n"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["deps", "check", *arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_clean_findings_and_unread(capsys, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(HASHED)
    assert run(capsys, str(tmp_path))[0] == 0
    assert run(capsys, str(tmp_path), "--private", "numpi")[0] == 0
    assert run(capsys, str(tmp_path), "--osv", str(tmp_path / "absent"))[0] == 1
    assert run(capsys, str(tmp_path), "--osv", str(tmp_path / "absent"), "--fail-on", "critical")[0] == 3
    assert run(capsys, str(tmp_path), "--environment", str(tmp_path / "absent"))[0] == 3
    file.write_text("numpy>=2\n")
    assert run(capsys, str(tmp_path))[0] == 1
    assert run(capsys, str(tmp_path), "--fail-on", "high")[0] == 0
    file.write_text(HASHED + "!!\n")
    assert run(capsys, str(file))[0] == 3


def test_json_and_sarif(capsys, tmp_path):
    (tmp_path / "requirements.txt").write_text("acme-core==1.0\n--extra-index-url https://pypi.acme.example/simple\n")
    sarif = tmp_path / "out.sarif"
    code, out, _ = run(capsys, str(tmp_path), "--private", "acme.core", "--json", "--sarif", str(sarif))
    held = json.loads(out)
    assert code == 1 and held["control"] == "supply.deps" and held["parameters"]["private_names"] == ["acme-core"]
    shown = {r["ruleId"] for r in json.loads(sarif.read_text())["runs"][0]["results"]}
    assert shown == {f["rule"] for f in held["findings"]} >= {"deps-confusion", "deps-extra-index", "deps-no-hash"}


@pytest.mark.parametrize(
    ("arguments", "words"), [((), "no dependencies"), (("/absent",), "does not exist"), (("--fail-on", "x"), "fail-on")]
)
def test_mistakes_are_one_line(capsys, arguments, words):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and words in err and err.count("\n") == 1

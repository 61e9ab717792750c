"""``assay scan``: baselines, standard input, and the files with which other programs call it."""

import json
import os
import pickle
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from assay.cli.main import main
from assay.core.clock import system_clock

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = b"cos\nsystem\n(Vtrue\ntR."
SOON = (system_clock().date() + timedelta(10)).isoformat()


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(HOSTILE)
    return path


def test_what_is_accepted_passes_and_the_next_does_not(capsys, hostile, tmp_path):
    baseline, sarif = tmp_path / "baseline.json", tmp_path / "out.sarif"
    assert run(capsys, "scan", hostile)[0] == 1
    code, out, _ = run(
        capsys, "scan", hostile, "--baseline", baseline, "--accept", "known", "--by", "grace", "--until", SOON
    )
    assert code == 0 and "accepted by grace" in out and "1 malicious, 1 accepted" in out
    code, _, _ = run(capsys, "scan", hostile, "--baseline", baseline, "--sarif", sarif)
    assert code == 0 and '"justification": "known (grace' in sarif.read_text()
    hostile.write_bytes(HOSTILE + b"\n")
    code, _, err = run(capsys, "scan", hostile, "--baseline", baseline)
    assert code == 1 and "matches nothing" in err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--accept", "why"], "--accept, --by and --until"),
        (["--accept", "why", "--by", "me", "--until", SOON], "--baseline FILE"),
        (["--baseline", "b.json", "--accept", "why", "--by", "me", "--until", "soon"], "no date"),
        (["--baseline", "b.json", "--accept", "why", "--by", "me", "--until", "2099-01-01"], "ends within 366 days"),
        (["--baseline", "absent.json"], "absent.json"),
    ],
)
def test_half_an_acceptance_is_refused_in_one_line(capsys, hostile, options, line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "scan", hostile, *options)
    assert (code, out) == (2, "")
    assert line in err and err.count("\n") == 1
    assert not (tmp_path / "b.json").exists()


def test_standard_input(capsys, monkeypatch):
    for data, expected in ((HOSTILE, 1), (b"\x80\x04N.", 0), (b"", 2)):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            monkeypatch.setattr(
                sys, "stdin", SimpleNamespace(buffer=stream, fileno=stream.fileno, isatty=lambda: False)
            )
            assert run(capsys, "scan", "-")[0] == expected


@pytest.mark.parametrize("url", ["ftp://example.org/m.pkl", "hf://owner/name", "https://u:p@127.0.0.1/m.pkl"])
def test_a_url_without_source_pin_or_with_a_password_is_refused(capsys, url):
    code, out, err = run(capsys, "scan", url)
    assert code in {1, 2, 3} and not out and err.count("\n") == 1
    assert "u:p" not in err


def test_the_hook_file_names_commands_that_are_there(capsys):
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        program, *words = hook["entry"].split()
        assert program == "assay"
        assert run(capsys, *words[: 1 if words[0] == "scan" else 2], "--help")[0] == 0


def test_the_hooks_run_on_files_and_no_name_is_an_option(capsys, hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan, check = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    Path("good.pkl").write_bytes(b"\x80\x04N.")
    Path("Dockerfile").write_text("FROM python:latest\nCMD mlflow server --host 0.0.0.0\n")
    Path("-fine.yaml").write_text("a: 1\n")
    # A baseline that accepts everything, under a name that would make it count.
    accepted = ("--accept", "x", "--by", "y", "--until", SOON)
    assert run(capsys, "scan", hostile.name, "--baseline", "x.pkl", *accepted)[0] == 0
    Path("--baseline=x.pkl").write_bytes(b"\x80\x04N.")

    def hook(row, *names):
        assert all(re.search(row["files"], name) for name in names)
        return run(capsys, *row["entry"].split()[1:], *row["args"], *names)[0]

    assert hook(scan, "good.pkl") == 0
    assert hook(scan, "--baseline=x.pkl", "good.pkl", "evil.pkl") == 1
    assert hook(check, "-fine.yaml") == 0
    assert hook(check, "-fine.yaml", "Dockerfile") == 1


def action():
    return yaml.safe_load((ROOT / "action.yml").read_text())


def test_no_input_of_the_action_becomes_shell():
    for step in action()["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_the_action_runs_what_it_says(hostile, tmp_path):
    step = action()["runs"]["steps"][1]
    bin_folder = tmp_path / "assay" / "bin"
    bin_folder.mkdir(parents=True)
    program = bin_folder / "assay"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from assay.cli.main import main; main()" "$@"\n')
    program.chmod(0o755)
    odd = tmp_path / "a b;$(touch x).pkl"
    odd.write_bytes(b"\x80\x04N.")
    for paths, code in ((f"{odd}\n", 0), (f"{odd}\n\n{hostile}\n", 1)):
        env = {
            "PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "ASSAY_PATHS": paths,
            "ASSAY_FAIL_ON": action()["inputs"]["fail-on"]["default"], "ASSAY_BASELINE": "",
            "ASSAY_SARIF": str(tmp_path / "out.sarif"),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]], env=env, cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert (tmp_path / "out.sarif").exists() and not (tmp_path / "x").exists()


def test_a_scan_of_one_file_imports_little(tmp_path):
    """Start-up is most of what a scan of a small file costs."""
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))
    code = (
        "import sys\nfrom assay.cli.main import main\n"
        "try: main(['scan', sys.argv[1], '--json'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print(sorted(m for m in sys.modules if m.startswith('assay.cli.')), file=sys.stderr)\n"
        "heavy = 'rich numpy cryptography logging importlib.metadata email socket tempfile secrets sqlite3 yaml assay.supply'\n"
        "print([m for m in heavy.split() if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.pkl"], capture_output=True, text=True, check=True)
    assert done.stderr.split("\n")[:2] == ["['assay.cli.main', 'assay.cli.output', 'assay.cli.scan']", "[]"]


STEERING = "evil\x1b[31m\nfine.pkl: pickle, clean\u202e"


def test_no_name_steers_the_terminal_or_writes_lines_of_its_own(capsys, tmp_path):
    (tmp_path / STEERING).write_bytes(b"cos\nsys\x1b[2Jtem\n(V\x1b[2J\ntR.")
    for mode in ((), ("--explain",)):
        code, out, _ = run(capsys, "scan", tmp_path, *mode)
        assert code == 1
        assert out.replace("\n", "").isprintable()
        assert not any(line.startswith("fine.pkl") for line in out.splitlines())
    code, _, err = run(capsys, "scan", tmp_path / "gone\x1b[31m")
    assert code == 2 and err.replace("\n", "").isprintable()


def test_names_that_are_no_utf8_are_told_in_valid_json(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.pkl", "wb") as stream:
        stream.write(HOSTILE)
    for mode in ("--json", "--explain"):
        done = subprocess.run(
            [sys.executable, "-c", "from assay.cli.main import main; main()", "scan", str(tmp_path), mode],
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        text = done.stdout.decode()
        if mode == "--json":
            assert os.fsencode(json.loads(text)["files"][0]["path"]).endswith(b"/\xff.pkl")


def test_of_many_files_those_that_need_a_look_are_listed(capsys, tmp_path, hostile):
    for number in range(50):
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(number))
    code, out, _ = run(capsys, "scan", tmp_path)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["verdict", "malicious", "51"]
    assert "51 files, 50 clean, 1 malicious" in out
    assert len(json.loads(run(capsys, "scan", tmp_path, "--json")[1])["files"]) == 51
    hostile.unlink()
    assert run(capsys, "scan", tmp_path)[1].count("clean") == 51
    (tmp_path / "50.pkl").write_bytes(pickle.dumps(50))
    assert run(capsys, "scan", tmp_path)[:2] == (0, "51 files, 51 clean\n")

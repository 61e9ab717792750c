"""The reference generator lists everything there is, and makes the same pages everywhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assay.artifacts.reader import FormatReader
from assay.cli.main import app
from assay.core.discovery import discover
from assay.core.settings import settings_of
from assay.gateway.guard import Guard

TOOL = Path(__file__).parents[2] / "tools" / "make_reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("make_reference", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_reference"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_reference"]


@pytest.fixture(scope="module")
def pages(reference):
    return {name: page() for name, page in reference.PAGES.items()}


def test_every_command_and_option_is_listed(reference, pages):
    page = pages["commands.md"]
    commands = dict(reference.walk(app))
    assert ("scan",) in commands
    assert ("data", "infer") in commands
    for path, command in commands.items():
        _, _, section = page.partition(f"# assay {' '.join(path)}\n")
        section = re.split(r"^#", section, maxsplit=1, flags=re.M)[0]
        assert section, path
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert f"`{', '.join([*parameter.opts, *parameter.secondary_opts])}`" in section


def test_every_control_is_listed(reference, pages):
    names = {base.__name__ for base in reference.bases()}
    assert {"Guard", "FormatReader", "EvasionAttack", "MembershipAttack", "Predictor", "Engine"} <= names
    for base in reference.bases():
        _, _, section = pages["controls.md"].partition(f"## {base.__name__}\n")
        section = section.partition("\n## ")[0]
        for name, part in reference.own(base).items():
            assert f"| `{name}` |" in section
            assert all(key in section for key in (*part.techniques, *part.mitigations))


def test_every_setting_is_listed_with_its_range(pages):
    for name, guard in discover(Guard).items():
        _, _, section = pages["settings.md"].partition(f"## Guard: {name}\n")
        for setting, declared in settings_of(guard).items():
            assert f"| `{setting}` |" in section.partition("\n## ")[0]
            assert declared.doc in section


def test_every_error_is_listed_with_its_exit_code(reference, pages):
    from assay.core import errors

    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.AssayError)]
    assert len(kinds) >= 13
    for kind in kinds:
        row = next(line for line in pages["errors.md"].splitlines() if line.startswith(f"| `{kind.__name__}` |"))
        assert f"| `{kind.code}` | {kind.exit_code} |" in row


def test_rules_carry_the_severity_that_the_code_gives_them(pages):
    rows = {line.split("|")[1].strip(" `"): line for line in pages["rules.md"].splitlines() if line.startswith("| `")}
    assert "| critical |" in rows["pickle-dangerous-global"]
    assert "| high |" in rows["target-copy"]  # its severity comes from one of two tuples
    assert "| medium |" in rows["strong-feature"]
    assert "does not hold" in rows["relation"]
    assert "drift-…" in rows
    assert len(discover(FormatReader)) < len(rows)


def test_pages_hold_nothing_of_this_machine(pages):
    for page in pages.values():
        assert str(Path.home()) + "/" not in page
        assert str(TOOL.parents[1]) not in page
        assert " at 0x" not in page
        assert "Sentinel" not in page


def test_pages_are_the_same_in_another_process_terminal_and_hash_seed(pages):
    code = f"import runpy, sys; m = runpy.run_path({str(TOOL)!r}); sys.stdout.reconfigure(encoding='utf-8'); [print(p(), end='') for p in m['PAGES'].values()]"
    env = {**os.environ, "COLUMNS": "40", "PYTHONHASHSEED": "7", "NO_COLOR": "1", "LC_ALL": "C", "HOME": "/nowhere"}
    made = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", capture_output=True, check=True)
    assert made.stdout.decode() == "".join(pages.values())


def test_tables_have_as_many_cells_as_headings(pages):
    for page in pages.values():
        for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.M):
            assert len({line.count(" | ") for line in table.splitlines()}) == 1, table


def test_check_names_what_is_stale_and_writing_makes_it_current(reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "reference")
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().out.count("stale: docs/reference/") == len(reference.PAGES)
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    (tmp_path / "reference" / "errors.md").write_text("# Errors\n")
    capsys.readouterr()
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "stale: docs/reference/errors.md; run python tools/make_reference.py"
    ]


def test_unknown_arguments_are_refused(reference):
    assert reference.main(["--chekc"]) == 2

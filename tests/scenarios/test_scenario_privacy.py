"""The tutorial of a medical model that leaks, walked as it is written as far as the data goes; its pictures are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tutorial-privacy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|console)\n(.*?)^```", PAGE, flags=re.M | re.S)
ASSAY = (sys.executable, "-c", "from assay.cli.main import main; main()")
SCRIPTS = dict(
    zip(
        ("make_patients.py", "split_rows.py", "contract_by_hand.py", "split_people.py", "recipe.py"),
        (body for kind, body in BLOCKS if kind == "python"),
        strict=True,
    )
)


def run(words, folder):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def steps(command):
    """Return (words, lines that it prints) of each step of the page that begins so."""
    found = []
    for kind, body in BLOCKS:
        if kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
                line, *printed = part.splitlines()
                if line.startswith(command):
                    found.append((shlex.split(line)[1:], [p.strip() for p in printed if p != "..."]))
    return found


def walk(step, folder, code):
    words, printed = step
    got, said = run([*ASSAY, *words], folder)
    assert got == code, said
    for line in printed:
        assert line in said, (line, said)


@pytest.mark.long
def test_what_the_table_gives_away_is_found_and_mended(tmp_path):
    for name, body in SCRIPTS.items():
        (tmp_path / name).write_text(body)
    inferred, looked = steps("assay data infer"), steps("assay data privacy")
    for split, infer, look, code in zip(("rows", "people"), inferred, looked, (1, 0), strict=True):
        names = ["make_patients.py"] if split == "rows" else []
        for name in [*names, f"split_{split}.py"]:
            assert run([sys.executable, name], tmp_path) == (0, "")
        walk(infer, tmp_path, 0)
        assert run([sys.executable, "contract_by_hand.py"], tmp_path) == (0, "")
        walk(look, tmp_path, code)


def test_the_pictures_of_the_tutorial_are_there():
    for name in re.findall(r"\]\((images/[^)]+)\)", PAGE):
        assert (DOCS / name).read_bytes().startswith(b"\x89PNG")

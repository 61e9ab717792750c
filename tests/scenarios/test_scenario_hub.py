"""The tutorial of a model from a hub, walked as it is written: every command, its exit code and what it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial-hub.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|console)\n(.*?)^```", PAGE, flags=re.M | re.S)
ASSAY = (sys.executable, "-c", "from assay.cli.main import main; main()")
# What ends with another code than 0, as the page says.
REFUSED = {"assay scan checkpoint.pt": 1, "assay scan checkpoint.pt --explain": 1}


def run(words, folder):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def assay(line, folder):
    return run([*ASSAY, *shlex.split(line)[1:]], folder)


def steps():
    """Yield (command, lines that it prints) of the console blocks, in the order of the page."""
    for kind, body in BLOCKS:
        if kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
                command, *printed = part.splitlines()
                yield command, [line.partition("...")[0].strip() for line in printed]


@pytest.mark.long
def test_the_way_from_a_hostile_file_to_a_safe_signed_copy(tmp_path):
    scripts = [body for kind, body in BLOCKS if kind == "python"]
    (tmp_path / "make_model.py").write_text(scripts[0])
    assert run([sys.executable, "make_model.py"], tmp_path)[0] == 0
    for command, printed in steps():
        if "hf://" in command:
            continue
        code, said = assay(command, tmp_path)
        assert code == REFUSED.get(command, 0), (command, said)
        for line in printed:
            assert line in said, (command, line, said)
    code, said = run([sys.executable, "-c", scripts[1]], tmp_path)
    assert code == 1
    assert "Refused: checkpoint.pt: is malicious: loading calls posix.mkdir('owned')" in said
    code, said = run([sys.executable, "-c", f"{scripts[2]}\nprint(load_file('safe/model.safetensors'))"], tmp_path)
    assert (code, "tensor([[0., 1., 2.]," in said) == (0, True)
    assert not (tmp_path / "owned").exists()
    assert "nothing about this model was" in (tmp_path / "safe.cdx.json").read_text()
    changed = bytearray((tmp_path / "safe" / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "safe" / "model.safetensors").write_bytes(changed)
    for command in [c for c, _ in steps() if "verify" in c] + ["assay bom safe --key my.key.pub"]:
        code, said = assay(command, tmp_path)
        assert (code, "model.safetensors" in said) == (1, True), (command, said)

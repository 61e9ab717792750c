"""Parts of others are found through their entry points, wherever these are installed, and cost nothing where none are."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from assay.artifacts.reader import FormatReader
from assay.core.discovery import discover
print("ours" in discover(FormatReader), "importlib.metadata" in sys.modules)
"""
_PART = """
from assay.artifacts.reader import FormatReader
class Ours(FormatReader, name="ours"):
    def claims(self, data): return False
    def read(self, data, where, inspection): return "ours"
"""
_FILES = {
    "part.py": _PART,
    "part-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: part\nVersion: 1\n",
    "part-1.dist-info/entry_points.txt": "[assay.artifacts.formats]\nours = part\n",
}


def found(path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _CODE, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_part_that_is_installed_is_found(tmp_path, kind):
    for name, text in _FILES.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for name, text in _FILES.items():
            archive.writestr(name, text)
    assert found(tmp_path / ("site" if kind == "folder" else "site.zip")) == ["True", "True"]


def test_without_one_nothing_is_read_of_what_is_installed(tmp_path):
    assert found(tmp_path) == ["False", "False"]

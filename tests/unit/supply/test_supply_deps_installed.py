"""Files of an environment against their RECORDs: what was changed, taken away or added is told; what was not is not."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.core.errors import DataError
from assay.core.finding import Severity
from assay.supply.deps.installed import check_installed


def record_line(name: str, data: bytes) -> str:
    proof = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={proof},{len(data)}"


@pytest.fixture
def site(tmp_path) -> Path:
    folder = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    files = {
        "good/__init__.py": b"x = 1\n", "good/data.txt": b"hello", "good-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: Good\nVersion: 1.0\n\n",
        "good-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n", "../../../bin/good": b"#!python\n", "good.pth": b"import good\n",
    }  # fmt: skip
    for name, data in files.items():
        path = Path(os.path.normpath(folder / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    lines = [record_line(n, d) for n, d in files.items()] + [
        "good-1.0.dist-info/RECORD,,",
        "good/__pycache__/__init__.cpython-311.pyc,,",
    ]
    (folder / "good-1.0.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
    (folder / "good" / "__pycache__").mkdir()
    (folder / "good" / "__pycache__" / "__init__.cpython-312.pyc").write_bytes(b"cached")
    return folder


def found(site: Path) -> dict[str, Severity]:
    return {f.rule: f.severity for f in check_installed(site).findings}


def test_an_untouched_environment(site):
    held = check_installed(site)
    assert (held.findings, held.unread) == ([], [])
    assert [(p.name, p.version) for p in held.packages] == [("good", "1.0")]


def add_record(site: Path, line: str) -> None:
    with open(site / "good-1.0.dist-info" / "RECORD", "a") as stream:
        stream.write(line + "\n")


ATTACKS = {
    "changed": (lambda s: (s / "good/__init__.py").write_bytes(b"x = 2\n"), "deps-installed-changed", Severity.CRITICAL),
    "longer": (lambda s: (s / "good/__init__.py").write_bytes(b"x = 1\nimport evil\n"), "deps-installed-changed", Severity.CRITICAL),
    "script": (lambda s: (s.parents[2] / "bin/good").write_bytes(b"#!/evil"), "deps-installed-changed", Severity.CRITICAL),
    "folder instead": (lambda s: ((s / "good/data.txt").unlink(), (s / "good/data.txt").mkdir()), "deps-installed-changed", Severity.CRITICAL),
    "missing": (lambda s: (s / "good/data.txt").unlink(), "deps-installed-missing", Severity.MEDIUM),
    "pth": (lambda s: (s / "evil.pth").write_text("# a\nimport os; os.system('id')\n"), "deps-installed-stray", Severity.CRITICAL),
    "pth path": (lambda s: (s / "evil.pth").write_text("/tmp/evil\n"), "deps-installed-stray", Severity.HIGH),
    "pth not text": (lambda s: (s / "evil.pth").write_bytes(b"\xff\nimport evil\n"), "deps-installed-stray", Severity.CRITICAL),
    "sitecustomize": (lambda s: (s / "sitecustomize.py").write_text(""), "deps-installed-stray", Severity.CRITICAL),
    "module": (lambda s: (s / "evil.py").write_text(""), "deps-installed-stray", Severity.HIGH),
    "inside a package": (lambda s: (s / "good/evil.so").write_bytes(b""), "deps-installed-stray", Severity.HIGH),
    "linked folder": (lambda s: (s / "evil").symlink_to("/"), "deps-installed-stray", Severity.HIGH),
    "cache of nothing": (lambda s: (s / "good/__pycache__/evil.cpython-311.pyc").write_bytes(b""), "deps-installed-stray", Severity.HIGH),
    "compiled only": (lambda s: (s / "good/evil.pyc").write_bytes(b""), "deps-installed-stray", Severity.HIGH),
    "outside": (lambda s: add_record(s, "../../../../../../etc/passwd,sha256=a,1"), "deps-record-outside", Severity.HIGH),
    "outside, absolute": (lambda s: add_record(s, "/etc/passwd,,"), "deps-record-outside", Severity.HIGH),
    "weak": (lambda s: ((s / "good/m.py").write_bytes(b""), add_record(s, "good/m.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,0")), "deps-installed-unhashed", Severity.MEDIUM),
    "no hash": (lambda s: ((s / "good/m.py").write_bytes(b""), add_record(s, "good/m.py,,")), "deps-installed-unhashed", Severity.MEDIUM),
    "virtualenv's": (lambda s: (s / "_virtualenv.pth").write_text("import _virtualenv"), "deps-installed-stray", Severity.LOW),
}  # fmt: skip


@pytest.mark.parametrize(("attack", "rule", "severity"), ATTACKS.values(), ids=ATTACKS)
def test_a_change_is_told(site, attack, rule, severity):
    attack(site)
    assert found(site) == {rule: severity}


@pytest.mark.parametrize(
    "attack",
    [
        lambda s: (s / "good-1.0.dist-info/RECORD").unlink(),
        lambda s: (s / "good-1.0.dist-info/RECORD").write_text("a,b\n"),
        lambda s: (s / "good-1.0.dist-info/RECORD").write_bytes(b"\xff\xfe,,\n"),
        lambda s: (s / "good-1.0.dist-info/RECORD").write_text('"open,,\n'),
        lambda s: (s / "good-1.0.dist-info/METADATA").write_text("Summary: x\n"),
        lambda s: (s / "good-1.0.dist-info/METADATA").unlink(),
        lambda s: (s / "old.egg-info").mkdir(),
        lambda s: ((s / "good-1.0.dist-info/RECORD").unlink(), os.mkfifo(s / "good-1.0.dist-info/RECORD")),
    ],
)
def test_what_cannot_be_checked_is_said(site, attack):
    attack(site)
    assert check_installed(site).unread


def test_no_code_is_run(site):
    (site / "good" / "__init__.py").write_text("raise SystemExit('ran')\n")
    assert found(site) == {"deps-installed-changed": Severity.CRITICAL}


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_no_environment(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        check_installed(tmp_path / name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=80) | st.text('a,"\n=/.\0', max_size=40).map(str.encode), st.sampled_from(["RECORD", "METADATA"])
)
def test_no_bytes_break_the_reader(site, data, name):
    (site / "good-1.0.dist-info" / name).write_bytes(data)
    held = check_installed(site)
    assert held.unread or held.findings or name == "METADATA" or held.packages

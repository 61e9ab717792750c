"""Files of dependencies, read and held against every check; no text breaks a reader."""

from __future__ import annotations

import contextlib
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.core.errors import AssayError, DataError
from assay.core.evidence import Evidence
from assay.core.sarif import sarif_of
from assay.supply.deps.check import check_deps
from assay.supply.deps.locks import read_lock
from assay.supply.deps.requirements import read_requirements
from assay.supply.deps.sources import read_settings

H = "sha256:" + "a" * 64
SHA = "b" * 40
LOCK = f'[[package]]\nname = "torch"\nversion = "2.5.0"\nsource = {{ registry = "https://pypi.org/simple" }}\nwheels = [{{ url = "https://x/torch.whl", hash = "{H}" }}]\n'

# id -> (file, bad content, good content)
CASES = {
    "deps-unpinned": ("requirements.txt", "torch>=2\n", f"torch==2.5.0 --hash={H}\n"),
    "deps-no-hash": ("requirements.txt", "torch==2.5.0\n", f"torch==2.5.0 \\\n    --hash={H}\n"),
    "deps-weak-hash": ("requirements.txt", "torch==2.5.0 --hash=md5:" + "a" * 32 + "\n", f"torch==2.5.0 --hash={H}\n"),
    "deps-vcs-no-commit": ("requirements.txt", "acme @ git+https://a.example/acme@main\n", f"acme @ git+https://a.example/acme@{SHA}\n"),
    "deps-url-no-digest": ("requirements.txt", "acme @ https://a.example/acme-1.0.tar.gz\n", f"acme @ https://a.example/acme-1.0.tar.gz#{H.replace(':', '=')}\n"),
    "deps-plain-http": ("requirements.txt", f"acme @ http://a.example/acme-1.0.tar.gz#{H.replace(':', '=')}\n", f"acme @ https://a.example/acme-1.0.tar.gz#{H.replace(':', '=')}\n"),
    "deps-remote-include": ("requirements.txt", "-r https://a.example/r.txt\n", f"torch==2.5.0 --hash={H}\n"),
    "deps-look-alike": ("requirements.txt", f"reqeusts==2.0.0 --hash={H}\n", f"requests==2.0.0 --hash={H}\n"),
    "deps-extra-index": ("pip.conf", "[global]\nextra-index-url = https://a.example/simple\n", "[global]\nindex-url = https://a.example/simple\n"),
    "deps-trusted-host": ("pip.conf", "[install]\ntrusted-host = a.example\n", "[install]\nindex-url = https://a.example/simple\n"),
    "deps-plain-index": (".env", "PIP_INDEX_URL=http://a.example/simple\n", "PIP_INDEX_URL=https://a.example/simple\n"),
    "deps-index-strategy": ("uv.toml", 'index-strategy = "unsafe-best-match"\n', 'index-strategy = "first-index"\n'),
    "deps-no-lock": ("pyproject.toml", '[project]\nname = "a"\ndependencies = ["torch>=2"]\n', '[project]\nname = "a"\ndependencies = []\n'),
    "deps-private-public": ("uv.lock", LOCK.replace("torch", "acme-core"), LOCK),
}  # fmt: skip


def rules(path, **more):
    return {f.rule for f in check_deps([path], **more).findings}


@pytest.mark.parametrize("case", CASES)
def test_every_rule_finds_its_hole_and_keeps_quiet_otherwise(tmp_path, case):
    name, bad, good = CASES[case]
    (tmp_path / name).write_text(bad)
    assert case in rules(tmp_path, private_names=["Acme_Core"])
    (tmp_path / name).write_text(good)
    assert rules(tmp_path, private_names=["Acme_Core"]) == set()


def test_a_folder_is_walked_and_the_evidence_is_whole(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["torch>=2"]\n')
    (tmp_path / "uv.lock").write_text(LOCK)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("-r ../requirements.txt\npytest\n")
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "requirements.txt").write_text("evil\n")
    evidence = check_deps([tmp_path])
    assert evidence.control == "supply.deps" and evidence.complete
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence
    # Included and walked, said once.
    assert [f.location.rpartition("/")[2] for f in evidence.findings if f.rule == "deps-unpinned"] == [
        "requirements.txt:1",
        "dev.txt:2",
    ]
    assert len(sarif_of(evidence.findings)["runs"][0]["results"]) == len(evidence.findings)


def test_advisories_over_files_and_environment(tmp_path):
    (tmp_path / "uv.lock").write_text(LOCK)
    advisory = {
        "id": "GHSA-1",
        "affected": [{"package": {"name": "torch", "ecosystem": "PyPI"}, "versions": ["2.5.0"]}],
    }
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "a.json").write_text(json.dumps(advisory))
    found = check_deps([tmp_path], osv=tmp_path / "osv")
    assert [f.rule for f in found.findings] == ["deps-vulnerable"] and found.complete
    (tmp_path / "requirements.txt").write_text(f"numpy\ntorch --hash={H}\n")
    loose = check_deps([tmp_path / "requirements.txt"], osv=tmp_path / "osv")
    assert not loose.complete and "numpy, torch" in loose.not_checked[0].why
    assert "torch" not in check_deps([tmp_path], osv=tmp_path / "osv").not_checked[0].why
    assert not check_deps([tmp_path], osv=tmp_path / "absent").clean()


def test_what_cannot_be_read_is_not_checked(tmp_path):
    for name, text in {
        "uv.lock": "[[",
        "pdm.lock": "",
        "pip.conf": "a\n b\n",
        "Pipfile.lock": "{",
        "requirements.txt": "!!\n",
        "environment.yml": "",
    }.items():
        (tmp_path / name).write_text(text)
    evidence = check_deps([tmp_path], environment=tmp_path)
    assert len(evidence.not_checked) == 7 and not evidence.clean()


@pytest.mark.parametrize("line", ["-r pipe", "-c pipe", "-r .", "-r a\0b", "-r absent.txt", "-r /dev/zero"])
def test_an_include_that_is_no_file_is_not_checked(tmp_path, line):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    assert check_deps([tmp_path]).not_checked


@pytest.mark.parametrize("name", ["absent", "empty", "notes.md"])
def test_nothing_to_check_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(DataError):
        check_deps([tmp_path / name])
    with pytest.raises(DataError):
        check_deps([])


READERS = {
    "requirements.txt": read_requirements, "uv.lock": read_lock, "poetry.lock": read_lock, "Pipfile.lock": read_lock, "pylock.toml": read_lock,
    "pyproject.toml": read_lock, "Pipfile": read_lock, "pip.conf": read_settings, "uv.toml": read_settings, ".env": read_settings,
}  # fmt: skip
PIECES = ["[", "]", "[global]", "[[package]]", "[[packages]]", "[project]", "[tool.uv]", "[[tool.poetry.source]]", "name", "=", '"', "'", ":", "\n", "\n ", "\\\n", "{", "}", ",", "torch", "==1.0", "@", "git+", "https://", "http://[", "-r", " -e ", "--hash=", "sha256:", "-i", "--index-url ", "extra-index-url", "PIP_INDEX_URL=", "#", ";", "dependencies", "source", "registry", "index", "1", "true", "\0", "é", "/", "../", "requirements.txt"]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(READERS)), st.text(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=16).map("".join)
)
def test_no_text_breaks_a_reader(tmp_path, name, text):
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / name).write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(AssayError):
        READERS[name](tmp_path / name)
    check_deps([tmp_path], private_names=["torch"])


KEYS = st.sampled_from(["name", "version", "source", "wheels", "sdist", "hash", "hashes", "url", "registry", "git", "files", "file", "type", "index", "archive", "vcs", "path", "directory", "priority", "ref", "sources", "metadata", "dependencies"])  # fmt: skip
VALUES = st.recursive(st.booleans() | st.integers(0, 3) | st.sampled_from(["", "torch", "1.0", "==1.0", H, "http://[", "https://a.example", "git", "./x"]), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=10)  # fmt: skip
TOPS = st.sampled_from(
    [
        "package",
        "packages",
        "project",
        "tool",
        "source",
        "_meta",
        "default",
        "metadata",
        "dependency-groups",
        "build-system",
        "dev-packages",
        "index",
        "pip",
        "extra-index-url",
    ]
)


def toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(set(READERS) - {"requirements.txt", "pip.conf", ".env"})),
    st.dictionaries(
        TOPS,
        VALUES
        | st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=2)
        | st.dictionaries(
            st.sampled_from(["uv", "poetry", "dependencies", "sources", "group", "name", "torch"]), VALUES, max_size=3
        ),
        max_size=4,
    ),
)
def test_no_structure_breaks_a_reader(tmp_path, name, held):
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / name).write_text(
        json.dumps(held) if name == "Pipfile.lock" else "\n".join(f"{k} = {toml(v)}" for k, v in held.items())
    )
    with contextlib.suppress(AssayError):
        READERS[name](tmp_path / name)
    check_deps([tmp_path], private_names=["torch"])

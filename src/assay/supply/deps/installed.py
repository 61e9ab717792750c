"""Whether the files of an environment are the ones that were installed: each against its RECORD; no code is run."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path

from assay.core.digest import digest_bytes
from assay.core.errors import AssayError, DataError, FormatError
from assay.core.evidence import NotChecked
from assay.core.files import read_bytes
from assay.core.finding import Finding, Severity
from assay.supply.deps.declared import TECHNIQUE, Package, canonical, short

_LIMIT = 64 << 20
_MOST_FILES = 2_000_000
_STRONG = {"sha256", "sha384", "sha512"}
_CODE = (".py", ".pyc", ".so", ".pyd", ".pth", ".dll", ".dylib", ".egg-link")
_STARTUP = {"sitecustomize.py", "usercustomize.py"}
_VIRTUALENV = {"_virtualenv.pth", "_virtualenv.py", "distutils-precedence.pth"}
_AGAIN = "Install the environment anew from hashes, and find out who changed it"


@dataclass(slots=True)
class Installed:
    """What an environment holds: its packages, what is wrong with their files, and what could not be checked."""

    packages: list[Package] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unread: list[NotChecked] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    files: int = 0


def check_installed(site: str | os.PathLike[str]) -> Installed:
    """Return what is installed in a site-packages folder, every file held against the RECORD that names it.

    Raises DataError when it is no folder or holds no distribution. The RECORD itself is not signed: whoever rewrites
    it together with a file is not seen.
    """
    folder = Path(os.path.abspath(site))
    if not folder.is_dir():
        raise DataError("is no folder", where=str(site), remedy="Give a site-packages folder")
    found = Installed()
    owned: set[str] = set()
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries)
    for name in names:
        if name.endswith(".dist-info"):
            _distribution(folder, name, found, owned)
        elif name.endswith((".egg-info", ".egg")):
            found.unread.append(NotChecked(str(folder / name), "has no RECORD of its files", "Install it from a wheel"))
    if not found.packages and not found.unread:
        raise DataError("holds no distribution", where=str(site), remedy="Give a site-packages folder")
    _strays(folder, owned, found)
    return found


def _distribution(folder: Path, name: str, found: Installed, owned: set[str]) -> None:
    place = folder / name
    try:
        for part in (place / "METADATA", record := place / "RECORD"):
            if not part.is_file():
                raise DataError(f"has no {part.name}", where=str(place))
        package = _package(place)
        found.packages.append(package)
        data = read_bytes(record, limit=_LIMIT)
        found.digests[str(record)] = str(digest_bytes(data))
        rows = list(_rows(data, record))
    except AssayError as error:
        found.unread.append(NotChecked(error.where or str(place), error.message, "Install it anew from a wheel"))
        return
    for row, proof, size in rows:
        path = os.path.normpath(os.path.join(folder, row))
        owned.add(path)
        found.files += 1
        if wrong := _wrong(folder, path, proof, size, name):
            rule, severity, what = wrong
            remedy = "Install it anew" if rule == "deps-installed-missing" else _AGAIN
            found.findings.append(
                Finding(rule, severity, f"{package.written}: {short(row)} {what}", path, remedy, TECHNIQUE)
            )


def _package(place: Path) -> Package:
    read_bytes(place / "METADATA", limit=_LIMIT)
    try:
        held = Distribution.at(place).metadata
        name, version = (str(held[key]) if key in held else "" for key in ("Name", "Version"))
    except (ValueError, LookupError, RecursionError) as error:
        raise FormatError("its METADATA cannot be read", where=str(place)) from error
    if not name or not version:
        raise FormatError("its METADATA names no package", where=str(place))
    written = short(f"{name} {version}")
    return Package(canonical(name), str(place / "METADATA"), version, written=written)


def _rows(data: bytes, record: Path) -> Iterator[tuple[str, str, str]]:
    try:
        for row in csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True):
            if not row:
                continue
            if len(row) != 3 or not row[0] or "\0" in row[0]:
                raise FormatError("has a line that is not path, hash and size", where=str(record))
            yield row[0], row[1], row[2]
    except (csv.Error, ValueError) as error:
        raise FormatError("is no CSV", where=str(record)) from error


def _wrong(folder: Path, path: str, proof: str, size: str, name: str) -> tuple[str, Severity, str] | None:
    # lib/pythonX.Y/site-packages: scripts lie three folders up.
    prefix = str(folder.parents[min(2, len(folder.parents) - 1)])
    if os.path.commonpath([prefix, path]) != prefix:
        return "deps-record-outside", Severity.HIGH, "lies outside of the environment"
    if path.endswith(".pyc") and not proof:
        return None
    if not os.path.lexists(path):
        return "deps-installed-missing", Severity.MEDIUM, "is not there any more"
    if not os.path.isfile(path):
        return "deps-installed-changed", Severity.CRITICAL, "is no file any more"
    kept = path in {str(folder / name / own) for own in ("RECORD", "RECORD.jws", "RECORD.p7s")}
    algorithm, _, value = proof.partition("=")
    if algorithm not in _STRONG:
        if kept or (not proof and not path.endswith(_CODE)):
            return None
        return "deps-installed-unhashed", Severity.MEDIUM, "has no strong hash in its RECORD"
    try:
        known = size in {"", str(os.stat(path).st_size)}
        digest = _digest(path, algorithm) if known else ""
    except OSError as error:
        return "deps-installed-unreadable", Severity.MEDIUM, f"cannot be read ({error.strerror})"
    return (
        None
        if digest == value.rstrip("=")
        else ("deps-installed-changed", Severity.CRITICAL, "is not what was installed")
    )


def _digest(path: str, algorithm: str) -> str:
    with open(path, "rb") as stream:
        return base64.urlsafe_b64encode(hashlib.file_digest(stream, algorithm).digest()).rstrip(b"=").decode()


def _strays(folder: Path, owned: set[str], found: Installed) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for count, path in enumerate(_walked(folder), start=1):
        if count > _MOST_FILES:
            found.unread.append(NotChecked(str(folder), f"holds more than {_MOST_FILES} files"))
            break
        if path in owned or not (path.endswith(_CODE) or os.path.islink(path)) or _is_cache(path, owned):
            continue
        name = os.path.relpath(path, folder)
        if os.path.dirname(name):
            groups[name.split(os.sep)[0]].append(path)
        else:
            found.findings.append(_stray(path, name))
    for top, paths in sorted(groups.items()):
        what = f"{len(paths)} files in {short(top)} belong to no package, as {short(os.path.relpath(paths[0], folder))}"
        found.findings.append(Finding("deps-installed-stray", Severity.HIGH, what, paths[0], _AGAIN, TECHNIQUE))


def _walked(folder: Path) -> Iterator[str]:
    for top, folders, names in os.walk(folder):
        folders.sort()
        # A linked folder is not walked, but Python imports from it.
        for name in sorted([*names, *(f for f in folders if os.path.islink(os.path.join(top, f)))]):
            yield os.path.join(top, name)


def _is_cache(path: str, owned: set[str]) -> bool:
    """Return whether a file is the compiled form of an owned one, where Python itself keeps it."""
    above, name = os.path.split(path)
    if os.path.basename(above) != "__pycache__" or not name.endswith(".pyc"):
        return False
    return os.path.join(os.path.dirname(above), name.split(".")[0] + ".py") in owned


def _stray(path: str, name: str) -> Finding:
    severity, what = Severity.HIGH, "belongs to no package"
    if name in _STARTUP:
        severity, what = Severity.CRITICAL, f"{what} and runs at every start of Python"
    elif name.endswith(".pth"):
        what = "belongs to no package and adds to the import path"
        try:
            lines = read_bytes(path, limit=1 << 20).split(b"\n") if os.path.isfile(path) else []
        except AssayError:
            lines = [b"import"]
        if any(line.startswith(b"import") for line in lines):
            severity, what = Severity.CRITICAL, "belongs to no package and runs code at every start of Python"
    if name in _VIRTUALENV:
        severity, what = Severity.LOW, f"{what}; virtualenv, uv and setuptools write one of this name"
    return Finding("deps-installed-stray", severity, f"{short(name)} {what}", path, _AGAIN, TECHNIQUE)

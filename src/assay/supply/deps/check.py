"""Holding the dependencies of a project and of an environment against every check, into one piece of evidence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_record
from assay.core.errors import AssayError, DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding
from assay.supply.deps.declared import TECHNIQUE, Declared, Package, canonical, redacted
from assay.supply.deps.indexes import check_indexes
from assay.supply.deps.installed import Installed, check_installed
from assay.supply.deps.locks import is_lock, read_lock
from assay.supply.deps.osv import Known, check_known
from assay.supply.deps.pinning import check_pinning, has_lock
from assay.supply.deps.requirements import read_requirements
from assay.supply.deps.sources import is_settings, read_settings
from assay.supply.deps.typosquat import LookAlikes, check_names

CONTROL = "supply.deps"
_SKIPPED = {".git", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox", ".mypy_cache", "site-packages"}
_MOST_FILES = 10_000
_UNKNOWN = {"pdm.lock", "conda-lock.yml", "environment.yml", "environment.yaml"}
_ALSO = "Export it: a requirements file with hashes, or pylock.toml"


def check_deps(
    paths: Iterable[str | os.PathLike[str]],
    *,
    private_names: Iterable[str] = (),
    osv: str | os.PathLike[str] | None = None,
    environment: str | os.PathLike[str] | None = None,
    clock: Clock = system_clock,
) -> Evidence:
    """Return the evidence on dependencies: pins, hashes, indexes, look-alike names, known holes, installed files.

    paths: requirements, lock, project and settings files, or folders of them. private_names: packages that only the
    user's own index may answer. osv: a dump of OSV records or a server's URL. environment: a site-packages folder.
    Nothing is installed, built or run. What cannot be read is not checked. Raises DataError when there is nothing here.
    """
    names = frozenset(canonical(n) for n in private_names)
    roots = list(paths)
    files, unread = _read(roots)
    installed = Installed()
    if environment is not None:
        try:
            installed = check_installed(environment)
        except AssayError as error:
            unread.append(NotChecked(os.fspath(environment), error.message, error.remedy))
    if not files and not unread and environment is None:
        raise DataError(
            "there are no dependencies here", where=" ".join(map(str, roots)), remedy="Name files or folders"
        )
    findings = list(_findings(files, installed, names))
    known = Known(())
    if osv is not None:
        known = check_known(_exact(files, installed), osv)
        unread += _open(files, installed)
    # One file may be read alone and as another's include: what it says is said once.
    findings = list(dict.fromkeys([*findings, *installed.findings, *known.findings]))
    digests = {path: digest for file in files for path, digest in file.digests.items()} | installed.digests
    held = (*unread, *(n for file in files for n in file.unread), *installed.unread, *known.unread)
    return Evidence(
        control=CONTROL,
        subjects=(Subject("dependencies", digest_record(digests)),),
        made=clock(),
        techniques=(TECHNIQUE,),
        findings=tuple(sorted(findings, key=lambda f: (-f.severity.rank, f.location, f.rule))),
        not_checked=tuple(dict.fromkeys(held)),
        parameters={
            "files": len(digests),
            "packages": len({p.name for file in files for p in file.packages}),
            "installed": len(installed.packages),
            "installed_files": installed.files,
            "private_names": sorted(names),
            "osv": None if osv is None else redacted(os.fspath(osv)),
            "advisories": known.records,
            "advisories_newest": known.newest,
        },
    )


def _findings(files: Sequence[Declared], installed: Installed, names: frozenset[str]) -> Iterator[Finding]:
    known = LookAlikes(names)
    for file in files:
        yield from check_pinning(file, locked=file.kind == "project" and has_lock(Path(file.path).parent))
        yield from check_names(file, known)
    yield from check_indexes(files, names)
    yield from check_names(Declared("", "environment", tuple(installed.packages)), known)


def _exact(files: Sequence[Declared], installed: Installed) -> list[Package]:
    """Return every package with an exact version, once for each place's file."""
    packages = [p for file in files for p in (*file.packages, *file.constraints)] + installed.packages
    return [p for p in packages if p.version and p.kind != "own"]


def _open(files: Sequence[Declared], installed: Installed) -> Iterator[NotChecked]:
    """Yield, per file, the packages that no file and no environment gives a version."""
    settled = {p.name for p in _exact(files, installed)}
    for file in files:
        names = sorted({p.name or p.written for p in file.packages if p.kind != "own" and p.name not in settled})
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            why = f"no advisory can be looked up without a version: {shown}"
            yield NotChecked(file.path, why, "Pin them, or check the lock or the environment too")


def _read(roots: Sequence[str | os.PathLike[str]]) -> tuple[list[Declared], list[NotChecked]]:
    files: list[Declared] = []
    unread: list[NotChecked] = []
    for path in dict.fromkeys(_files(roots)):
        try:
            files.append(_declared(path))
        except AssayError as error:
            unread.append(NotChecked(str(path), error.message, error.remedy))
    return files, unread


def _declared(path: Path) -> Declared:
    if path.name in _UNKNOWN:
        raise DataError("is of a form that is not read here", where=str(path), remedy=_ALSO)
    if is_lock(path):
        return read_lock(path)
    if is_settings(path):
        return read_settings(path)
    if path.suffix == ".in":
        return read_requirements(path, kind="input")
    return read_requirements(path, kind="constraints" if path.name.startswith("constraints") else "requirements")


def _files(roots: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for name in roots:
        root = Path(name)
        if root.is_file():
            if not (_is_wanted(root) or root.suffix in {".txt", ".in", ".requirements"}):
                raise DataError(
                    "is no file of dependencies", where=str(name), remedy="Give a requirements or lock file"
                )
            yield root
            continue
        if not root.is_dir():
            raise DataError("does not exist", where=str(name), remedy="Give files or folders")
        count = 0
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in _SKIPPED)
            for path in (Path(folder) / file for file in sorted(names)):
                if _is_wanted(path) and path.is_file():
                    count += 1
                    if count > _MOST_FILES:
                        raise DataError(
                            f"holds more than {_MOST_FILES} files", where=str(name), remedy="Name a smaller one"
                        )
                    yield path


def _is_wanted(path: Path) -> bool:
    if is_lock(path) or is_settings(path) or path.name in _UNKNOWN or path.suffix == ".requirements":
        return True
    listed = path.name.startswith(("requirements", "constraints")) or path.parent.name == "requirements"
    return listed and path.suffix in {".txt", ".in"}

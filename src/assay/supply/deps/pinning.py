"""Whether what will be installed is what was reviewed: exact versions, strong hashes, commits and digests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from assay.core.finding import Finding, Severity
from assay.supply.deps.declared import TECHNIQUE, Declared, Package, is_commit, redacted

_STRONG = {"sha256": 64, "sha384": 96, "sha512": 128}
_PIN = "Pin it as name==version, best by a tool that writes a lock"
_HASH = "Write the hashes too: pip-compile --generate-hashes, or uv export"


def check_pinning(declared: Declared, *, locked: bool = False) -> Iterator[Finding]:
    """Yield what leaves the choice of a file to the moment of installation.

    locked: a lock stands beside a project file, so its open ranges are settled there.
    """
    constraints = {p.name: p for p in declared.constraints if p.version}
    open_hashes: dict[str, list[Package]] = defaultdict(list)
    for package in declared.packages:
        yield from _weak(package)
        if package.kind != "registry":
            yield from _located(package, declared.kind)
            continue
        limit = constraints.get(package.name)
        yield from _unpinned(package, declared.kind, limit)
        held = package.hashes or (limit.hashes if limit else ())
        if (declared.kind == "requirements" and not held) or (declared.kind == "lock" and package.unhashed):
            open_hashes[package.place.rpartition(":")[0]].append(package)
    for packages in open_hashes.values():
        yield _unhashed(packages)
    for limit in declared.constraints:
        yield from _weak(limit)
    for option in declared.options:
        if option.name == "include":
            yield Finding(
                "deps-remote-include", Severity.HIGH, f"takes requirements from {redacted(option.value)}", option.place,
                "Keep the included file beside this one", TECHNIQUE,
            )  # fmt: skip
    if declared.kind == "project" and declared.packages and not locked:
        yield Finding(
            "deps-no-lock", Severity.LOW, "no lock stands beside the project file", f"{declared.path}:1",
            "Write one: uv lock, poetry lock, or pip-compile --generate-hashes", TECHNIQUE,
        )  # fmt: skip


def is_hashed(package: Package) -> bool:
    """Return whether every hash of a package is strong and there is at least one."""
    return bool(package.hashes) and not package.unhashed and not any(True for _ in _weak(package))


def _weak(package: Package) -> Iterator[Finding]:
    for value in package.hashes:
        algorithm, _, digest = value.partition(":")
        wanted = _STRONG.get(algorithm)
        if wanted is None:
            what = f"{package.name or package.written} is pinned by {algorithm[:20] or 'nothing'}, which can be forged"
        elif len(digest) != wanted or not set(digest) <= set("0123456789abcdef"):
            what = f"{package.name or package.written} has a {algorithm} hash that is none"
        else:
            continue
        yield _found("deps-weak-hash", Severity.HIGH, what, package, "Use sha256")
        return


def _unpinned(package: Package, kind: str, limit: Package | None) -> Iterator[Finding]:
    if kind == "requirements" and not package.version and limit is None:
        yield _found("deps-unpinned", Severity.MEDIUM, f"{package.written} has no exact version", package, _PIN)
    if kind == "constraints" and not package.version:
        yield _found("deps-unpinned", Severity.LOW, f"{package.written} is no exact version", package, _PIN)


def _located(package: Package, kind: str) -> Iterator[Finding]:
    shown = package.name or redacted(package.source)
    if package.kind == "vcs":
        path = package.source.partition("://")[2] or package.source
        revision = path.partition("/")[2].rpartition("@")[2] if "@" in path.partition("/")[2] else ""
        if not is_commit(revision):
            what = f"{shown} comes from a repository at {revision[:40] or 'its newest state'}, which can be moved"
            yield _found("deps-vcs-no-commit", Severity.HIGH, what, package, "Name the full commit: @<40 hex digits>")
        if package.source.lower().startswith(("git+http://", "git+git://", "http://", "git://")):
            yield _found("deps-plain-http", Severity.HIGH, f"{shown} comes without TLS", package, "Use https://")
    elif package.kind == "url":
        if not is_hashed(package):
            what = f"{shown} comes from a URL and has no digest"
            yield _found("deps-url-no-digest", Severity.HIGH, what, package, "Add #sha256=<digest> or --hash")
        if package.source.lower().startswith(("http://", "ftp://")):
            yield _found("deps-plain-http", Severity.HIGH, f"{shown} comes without TLS", package, "Use https://")
    elif package.kind == "file":
        if not is_hashed(package):
            what = f"{shown} is a local archive without a digest"
            yield _found("deps-path-no-digest", Severity.MEDIUM, what, package, "Add --hash=sha256:<digest>")
    elif package.kind == "folder" and kind != "lock":
        what = f"{shown} is a local folder, whose content nothing pins"
        yield _found("deps-folder", Severity.NOTE, what, package, "Build a wheel and pin its hash for a release")


def _unhashed(packages: list[Package]) -> Finding:
    names = [p.name for p in packages]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return _found("deps-no-hash", Severity.MEDIUM, f"no hash for {shown}", packages[0], _HASH)


def _found(rule: str, severity: Severity, message: str, package: Package, remedy: str) -> Finding:
    return Finding(rule, severity, message, package.place, remedy, TECHNIQUE)


def has_lock(folder: Path, names: Iterable[str] = ("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock")) -> bool:
    """Return whether a lock stands in a folder: one by name, pylock.toml, or requirements with hashes."""
    if any((folder / name).is_file() for name in (*names, "pylock.toml")):
        return True
    return any(folder.glob("requirements*.txt"))

"""A check of pipeline configuration: one row of a table, and the ways to look for what it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple, TypeAlias

from assay.core.discovery import Control
from assay.core.finding import Severity
from assay.supply.pipeline.document import Call, Command, Document, Manifest, Plain, Setting


class Hit(NamedTuple):
    """Where a check found what it looks for, and what stood there."""

    line: int
    shown: str


Finder: TypeAlias = Callable[[Document], Iterator[Hit]]
Bad: TypeAlias = Callable[[Setting], bool]


@dataclass(frozen=True, slots=True)
class Check:
    """One row. id: stable; what: is wrong, in words; secure: the value to use; technique: ATLAS id; find: looks for it."""

    id: str
    severity: Severity
    what: str
    secure: str
    technique: str
    find: Finder


class Checklist(Control, package="assay.supply.pipeline.checks"):
    """The checks of one system. Authors give ``rows``."""

    rows: ClassVar[tuple[Check, ...]] = ()


def either(*finders: Finder) -> Finder:
    """Return a finder of what any of several finds."""

    def find(document: Document) -> Iterator[Hit]:
        for finder in finders:
            yield from finder(document)

    return find


def setting(pattern: str, bad: Bad, *, named: str = "*", where: Bad | None = None) -> Finder:
    """Return a finder of settings whose key matches and whose value is bad. named: pattern of the file's name.

    where: only in files in which some setting is so.
    """

    def find(document: Document) -> Iterator[Hit]:
        if not fnmatchcase(document.name, named) or (where and not any(where(s) for s in document.settings)):
            return
        for item in document.settings:
            if fnmatchcase(item.key, pattern) and bad(item):
                yield Hit(item.line, f"{item.key} = {_cut(item)}")

    return find


def missing(key: str, *, when: Bad, named: str = "*") -> Finder:
    """Return a finder of files that set ``when`` and do not set ``key`` (patterns), or set it to nothing."""

    def find(document: Document) -> Iterator[Hit]:
        if not fnmatchcase(document.name, named):
            return
        first = next((s for s in document.settings if when(s)), None)
        if first and not any(fnmatchcase(s.key, key) and s.text for s in document.settings):
            yield Hit(first.line, f"{key.replace('*', '')} is not set")

    return find


def variable(name: str, bad: Bad) -> Finder:
    """Return a finder of environment variables of that name (a pattern) with a bad value."""

    def find(document: Document) -> Iterator[Hit]:
        for item in document.environment:
            if fnmatchcase(item.key, name) and bad(item):
                yield Hit(item.line, f"{item.key}={_cut(item)}")

    return find


def command(*names: str, bad: Callable[[Command], str]) -> Finder:
    """Return a finder of commands that run ``names``; bad: what is wrong with one, "" when nothing is."""

    def find(document: Document) -> Iterator[Hit]:
        for item in document.commands:
            if item.runs(*names) and (shown := bad(item)):
                yield Hit(item.line, shown)

    return find


def flag(*names: str, option: str, bad: Callable[[str], bool]) -> Finder:
    """Return a finder of commands that give an option a bad value."""

    def judge(item: Command) -> str:
        return next((f"{option} {value}".strip() for value in item.values(option) if bad(value)), "")

    return command(*names, bad=judge)


def called(*patterns: str, bad: Callable[[Call], bool]) -> Finder:
    """Return a finder of calls in Python whose name matches one of the patterns and that are bad."""

    def find(document: Document) -> Iterator[Hit]:
        for item in document.calls:
            if any(fnmatchcase(item.name, p) for p in patterns) and bad(item):
                yield Hit(item.line, f"{item.name}(...)")

    return find


def deployed(kinds: Iterable[str], bad: Callable[[Manifest], str]) -> Finder:
    """Return a finder of Kubernetes objects of some kinds; bad: what is wrong with one, "" when nothing is."""
    wanted = frozenset(kinds)

    def find(document: Document) -> Iterator[Hit]:
        for item in document.manifests:
            if (not wanted or item.kind in wanted) and (shown := bad(item)):
                yield Hit(item.line, f"{item.kind}/{item.name}: {shown}")

    return find


def is_on(item: Setting) -> bool:
    """Return whether a setting says yes."""
    return item.on


def is_star(item: Setting) -> bool:
    """Return whether a setting lets everyone in."""
    return "*" in [part.strip() for part in item.text.strip("[]").replace("'", "").replace('"', "").split(",")]


def is_open(host: str) -> bool:
    """Return whether an address can be reached from other machines."""
    return host in {"0.0.0.0", "::", "[::]", "*"}  # noqa: S104 - what is looked for, not what is bound


def is_secret(item: Setting) -> bool:
    """Return whether a setting holds a secret itself, rather than a reference to where it is kept."""
    text = item.text
    reference = text.startswith(("$", "{{", "<", "file:", "arn:", "vault:", "%(")) or "${" in text or "$(" in text
    return bool(text) and not reference


def has_password(text: str) -> bool:
    """Return whether a URL holds a password that is written out."""
    head, at, _ = text.partition("://")[2].partition("@")
    secret = head.partition(":")[2]
    return bool(at and secret) and "$" not in secret and "{" not in secret and not secret.startswith("<")


def _cut(item: Setting) -> str:
    quiet = any(word in item.key.lower() for word in ("password", "secret", "token", "key", "conn", "uri"))
    return "..." if quiet and item.text and not item.on else item.text[:60]


__all__ = [
    "Call",
    "Check",
    "Checklist",
    "Command",
    "Document",
    "Finder",
    "Hit",
    "Manifest",
    "Plain",
    "Setting",
    "Severity",
]

"""What files say about dependencies, whatever wrote them: packages, options and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from assay.core.evidence import NotChecked

TECHNIQUE = "AML.T0010.001"
_SEPARATORS = re.compile(r"[-_.]+")
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SECRET = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Package:
    """One dependency as a file states it.

    name: normal form (PEP 503). version: the exact one, "" when it is open. hashes: ``algorithm:value``. kind: where
    it comes from, one of registry, vcs, url, file, folder, own. source: URL or path, of the index for a registry.
    unhashed: how many of a lock's artifacts carry no hash. index: name of the index it is bound to.
    """

    name: str
    place: str
    version: str = ""
    specifier: str = ""
    hashes: tuple[str, ...] = ()
    kind: str = "registry"
    source: str = ""
    unhashed: int = 0
    index: str = ""
    written: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """One option about where packages come from.

    name: as pip calls it, or ``source`` for a named index. tool: pip, uv, poetry or pipenv. label: name of an index.
    rank: its priority, as in explicit, default, primary, supplemental ("": not said).
    """

    name: str
    value: str
    place: str
    tool: str = "pip"
    label: str = ""
    rank: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """All that one file, with what it includes, says. kind: requirements, constraints, input, project, lock, settings."""

    path: str
    kind: str
    packages: tuple[Package, ...] = ()
    options: tuple[Option, ...] = ()
    unread: tuple[NotChecked, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[Package, ...] = ()


def canonical(name: str) -> str:
    """Return a package's name in its normal form (PEP 503)."""
    return _SEPARATORS.sub("-", name).strip().lower()


def is_commit(revision: str) -> bool:
    """Return whether a revision is the full id of a commit, which nobody can move."""
    return _COMMIT.match(revision.lower()) is not None


def redacted(url: str) -> str:
    """Return a URL without user name and password, short enough to print."""
    shown = _SECRET.sub("", url)
    return shown if len(shown) <= 120 else shown[:117] + "..."


def host_of(url: str) -> str:
    """Return the host name in a URL in lower case, "" when there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def short(text: str) -> str:
    """Return one printable line of at most 80 characters, secrets of URLs left out."""
    shown = "".join(c if c.isprintable() else "?" for c in redacted(text))
    return shown if len(shown) <= 80 else shown[:77] + "..."

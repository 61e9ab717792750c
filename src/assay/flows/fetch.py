"""Scanning models where they are: what a URL names is fetched, scanned, and reported under its URL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from assay.artifacts.pickle.policy import Policy
from assay.artifacts.reader import Limits
from assay.artifacts.report import FileReport, ScanReport
from assay.artifacts.scan import scan_paths

if TYPE_CHECKING:
    from assay.supply.sources.limits import SourceLimits
    from assay.supply.sources.source import Fetched


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Something to scan, on this disk. shown: what reports call it; fetched: None for what was here already."""

    path: Path
    shown: str
    fetched: Fetched | None = None


@contextmanager
def local_sources(
    names: Iterable[str | os.PathLike[str]],
    *,
    limits: SourceLimits | None = None,
    allow_unpinned: bool = False,
    whole: bool = False,
    folder: Path | None = None,
) -> Iterator[tuple[LocalSource, ...]]:
    """Yield the paths and URLs as local files and folders; URLs are fetched first.

    whole: fetch raw tensors of torch archives too. folder: keep what was fetched here; without it, it is removed at
    the end. Raises as ``open_source`` for the first that cannot be fetched.
    """
    texts = [os.fspath(name) for name in names]
    if not any(text == "-" or "://" in text for text in texts):
        # Nothing to fetch, and what could fetch it takes longer to import than a small model takes to scan.
        yield tuple(LocalSource(Path(text), text) for text in texts)
        return
    with _fetched(texts, limits, allow_unpinned=allow_unpinned, whole=whole, folder=folder) as sources:
        yield sources


@contextmanager
def _fetched(
    texts: Iterable[str], limits: SourceLimits | None, *, allow_unpinned: bool, whole: bool, folder: Path | None
) -> Iterator[tuple[LocalSource, ...]]:
    import tempfile

    from assay.supply.sources.source import DEFAULT_LIMITS, is_url, open_source
    from assay.supply.sources.sparse import fetch_sparse

    get = open_source if whole else fetch_sparse
    with tempfile.TemporaryDirectory(prefix="assay-fetch-") as scratch:
        root = folder or Path(scratch).resolve()
        made = []
        for number, text in enumerate(texts):
            if not is_url(text):
                made.append(LocalSource(Path(text), text))
                continue
            fetched = get(text, root / f"{number:04}", limits=limits or DEFAULT_LIMITS, allow_unpinned=allow_unpinned)
            made.append(LocalSource(fetched.path, fetched.url, fetched))
        yield tuple(made)


def scan_sources(
    names: Iterable[str | os.PathLike[str]],
    *,
    limits: SourceLimits | None = None,
    allow_unpinned: bool = False,
    whole: bool = False,
    folder: Path | None = None,
    policy: Policy | None = None,
    budget: Limits | None = None,
) -> ScanReport:
    """Return what loading each model would do; those at URLs are reported under their pinned URLs.

    limits: of fetching; budget: of examining one file. Raises DataError when a path does not exist, and as
    ``open_source``.
    """
    files: list[FileReport] = []
    with local_sources(names, limits=limits, allow_unpinned=allow_unpinned, whole=whole, folder=folder) as sources:
        for source in sources:
            report = scan_paths([source.path], policy=policy, limits=budget)
            files += [renamed(file, source) for file in report.files]
    return ScanReport(tuple(files))


def renamed(file: FileReport, source: LocalSource) -> FileReport:
    """Return the report of a file with every local path in it replaced by the name of its source."""
    if source.fetched is None:
        return file
    local = str(source.path)
    url, mark, pin = source.shown.partition("#")

    def name(text: str) -> str:
        return f"{url}{text[len(local) :]}{mark}{pin}" if text.startswith(local) else text

    return FileReport(
        name(file.path),
        file.format,
        file.verdict,
        tuple(replace(f, location=name(f.location)) for f in file.findings),
        tuple(replace(n, what=name(n.what)) for n in file.not_checked),
    )


__all__ = ["LocalSource", "local_sources", "renamed", "scan_sources"]

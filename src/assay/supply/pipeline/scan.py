"""Holding configuration files against every check, into one piece of evidence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from assay.core.clock import Clock, system_clock
from assay.core.digest import Digest, digest_bytes, digest_record
from assay.core.discovery import discover
from assay.core.errors import AssayError, DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding
from assay.supply.pipeline.check import Check, Checklist
from assay.supply.pipeline.document import Document
from assay.supply.pipeline.reading import kind_of, read_document

CONTROL = "supply.pipeline"
_SKIPPED = {".git", "node_modules", "__pycache__", ".venv", "venv", ".mypy_cache", ".ruff_cache", "site-packages"}
_MOST_FILES = 50_000


def check_pipeline(paths: Iterable[str | os.PathLike[str]], *, clock: Clock = system_clock) -> Evidence:
    """Return the evidence on configuration files and folders: findings with file, line and remedy.

    Files that are no configuration are passed over; one that is and cannot be read is recorded as not checked.
    Raises DataError when a path does not exist, or nothing is there to check.
    """
    rows = [row for checklist in discover(Checklist).values() for row in checklist.rows]
    findings: list[Finding] = []
    unread: list[NotChecked] = []
    digests: dict[str, str] = {}
    for path in _files(paths):
        try:
            document = read_document(path)
        except AssayError as error:
            unread.append(NotChecked(str(path), error.message, error.remedy))
            continue
        digests[str(path)] = str(digest_bytes(document.text.encode()))
        findings += _found(path, document, rows)
    if not digests and not unread:
        raise DataError(
            "there is no configuration here", where=" ".join(map(str, paths)), remedy="Name files or folders"
        )
    return Evidence(
        control=CONTROL,
        subjects=(Subject("configuration", _overall(digests)),),
        made=clock(),
        techniques=tuple(sorted({row.technique for row in rows})),
        findings=tuple(sorted(findings, key=lambda f: (-f.severity.rank, f.location))),
        not_checked=tuple(unread),
        parameters={"files": len(digests), "checks": len(rows)},
    )


def _found(path: Path, document: Document, rows: Sequence[Check]) -> Iterator[Finding]:
    """Yield what the checks find in a file and in those that it carries, with lines of the file itself."""
    for before, part in ((0, document), *document.inside):
        for row in rows:
            for line, shown in dict.fromkeys(row.find(part)):
                place = f"{path}:{before + line}"
                yield Finding(row.id, row.severity, f"{row.what}: {shown}", place, row.secure, row.technique)


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    count = 0
    for name in paths:
        root = Path(name)
        if root.is_file():
            yield root
            continue
        if not root.is_dir():
            raise DataError("does not exist", where=str(name), remedy="Give files or folders")
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in _SKIPPED)
            for file in sorted(files):
                path = Path(folder) / file
                if kind_of(path) and path.is_file():
                    count += 1
                    if count > _MOST_FILES:
                        raise DataError(
                            f"holds more than {_MOST_FILES} files", where=str(name), remedy="Name a smaller folder"
                        )
                    yield path


def _overall(digests: dict[str, str]) -> Digest:
    return digest_record(digests)


__all__ = ["CONTROL", "Document", "check_pipeline"]

"""Scan model files for what loading them would do, without loading anything.

>>> report = scan_paths(["model.joblib"])           # doctest: +SKIP
>>> report.verdict                                  # doctest: +SKIP
<FileVerdict.CLEAN: 'clean'>
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from stat import S_ISDIR, S_ISREG
from typing import TypeAlias

from assay.artifacts.folder_walk import Met, walk
from assay.artifacts.formats.savedmodel import INDEX_MAGIC
from assay.artifacts.pickle.policy import Policy, builtin_policy
from assay.artifacts.reader import Data, Inspection, Limits
from assay.artifacts.report import FileReport, FileVerdict, ScanReport, verdict_of
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_tree
from assay.core.errors import DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity

StrPath: TypeAlias = "str | os.PathLike[str]"

_SUPPLY_CHAIN = "AML.T0010.003"
TECHNIQUES = ("AML.T0011.000", "AML.T0018.002", _SUPPLY_CHAIN)
_LINK_REMEDY = "Put the file itself in the place of the link, or scan the folder that holds both"
_BYTES_PER_SECOND = 128 << 20
_SMALL = 1 << 20
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")


def scan(
    path: StrPath, *, policy: Policy | None = None, limits: Limits | None = None, clock: Clock = system_clock
) -> Evidence:
    """Return evidence on what loading a file, or any file of a folder, would do.

    parameters hold the worst ``verdict``, the ``formats`` and the policy's versions. Raises DataError
    when the path does not exist.
    """
    rules = policy or builtin_policy()
    report = scan_paths([path], policy=rules, limits=limits)
    subject = Subject(os.path.basename(os.path.abspath(path)), digest_tree(path))
    return Evidence(
        control="scan",
        subjects=(subject,),
        made=clock(),
        techniques=TECHNIQUES,
        findings=tuple(f for file in report.files for f in file.findings),
        not_checked=tuple(n for file in report.files for n in file.not_checked),
        parameters={
            "verdict": report.verdict.value,
            "formats": sorted({f.format for f in report.files}),
            "summary": dict(report.summary),
            "policy": list(rules.versions),
        },
    )


def scan_paths(paths: Iterable[StrPath], *, policy: Policy | None = None, limits: Limits | None = None) -> ScanReport:
    """Return what loading each file would do; folders are walked. Raises DataError when a path does not exist."""
    rules, bounds = policy or builtin_policy(), limits or Limits()
    return ScanReport(tuple(report for path in paths for report in _reports(os.fspath(path), rules, bounds)))


def scan_bytes(
    data: Data, name: str = "<bytes>", *, policy: Policy | None = None, limits: Limits | None = None
) -> FileReport:
    """Return what loading the content would do; ``name`` stands for the path in the report."""
    return _inspect(data, name, policy or builtin_policy(), limits or Limits(), None)


def explain(path: StrPath, *, policy: Policy | None = None, limits: Limits | None = None) -> str:
    """Return, as text, every import and call that loading the file would make, in order and with offsets."""
    rules, bounds = policy or builtin_policy(), limits or Limits()
    parts, notes = [], list[str]()
    for report in _reports(os.fspath(path), rules, bounds, notes):
        lines = [f"{report.path}: {report.format}, {report.verdict.value}", *notes]
        lines += [f"  {_told(f)}" for f in report.findings]
        lines += [f"  not checked: {n.what}: {n.why}" for n in report.not_checked]
        # A name with a line end in it could otherwise write lines of its own.
        parts.append("\n".join(line if line.isprintable() else ascii(line)[1:-1] for line in lines))
        notes.clear()
    return "\n\n".join(parts)


def _told(found: Finding) -> str:
    ids = f"{found.rule}, {found.technique}" if found.technique else found.rule
    return f"{found.severity.value}: {found.message} ({found.location}) [{ids}]"


def _reports(path: str, policy: Policy, limits: Limits, notes: list[str] | None = None) -> Iterator[FileReport]:
    """Yield the report of a file, or of every file below a folder. notes: gets what each would do, before its report."""
    report = _scan_file(path, policy, limits, notes)
    if report is None:
        for met in walk(path):
            yield _scan_met(met, policy, limits, notes)
        return
    if report.verdict is FileVerdict.ERROR and not os.path.lexists(path):
        raise DataError("does not exist", where=path, remedy="Check the path")
    yield report


def _scan_met(met: Met, policy: Policy, limits: Limits, notes: list[str] | None) -> FileReport:
    """Return the report of what was met below a folder, with a finding for a link that leads out of it."""
    if met.unread:
        return _unread(met.path, met.unread)
    found = None if met.folder else _scan_file(met.path, policy, limits, notes)
    if found is None:
        why = NotChecked(met.path, "is a folder that was not entered", _LINK_REMEDY)
        found = FileReport(met.path, "unknown", FileVerdict.UNSUPPORTED, (), (why,))
    if not met.outside:
        return found
    text = f"is a link that leads out of the scanned folder, to {met.outside}"
    link = Finding("link-outside", Severity.MEDIUM, text[:600], met.path[:400], _LINK_REMEDY, _SUPPLY_CHAIN)
    verdict = max(found.verdict, FileVerdict.SUSPICIOUS, key=lambda v: v.rank)
    return replace(found, verdict=verdict, findings=(*found.findings, link))


def _unread(path: str, error: str) -> FileReport:
    why = NotChecked(path, f"cannot be read ({error})", "Check its permissions")
    return FileReport(path, "unknown", FileVerdict.ERROR, (), (why,))


def _scan_file(path: str, policy: Policy, limits: Limits, notes: list[str] | None) -> FileReport | None:
    """Return the report of a file, None for a folder."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if S_ISDIR(found.st_mode):
                return None
            if not S_ISREG(found.st_mode):
                why = NotChecked(path, "is no regular file")
                return FileReport(path, "unknown", FileVerdict.UNSUPPORTED, (), (why,))
            if found.st_size <= _SMALL:
                return _inspect(os.read(handle, found.st_size), path, policy, limits, notes)
            with mmap(handle, 0, access=ACCESS_READ) as mapped:
                return _inspect(mapped, path, policy, limits, notes)
        finally:
            os.close(handle)
    except OSError as error:
        return _unread(path, error.strerror or "unknown error")


def _inspect(data: Data, name: str, policy: Policy, limits: Limits, notes: list[str] | None) -> FileReport:
    seconds = max(limits.seconds, len(data) / _BYTES_PER_SECOND)
    inspection = Inspection(policy, limits, time.thread_time() + seconds, notes=notes)
    label = inspection.scan(data, name)
    if label == "unknown" and not inspection.findings and _is_shard(name):
        return FileReport(name, "tf-tensor-data", FileVerdict.CLEAN, (), ())
    verdict = verdict_of(inspection.findings, inspection.failed, inspection.unsupported)
    findings = sorted(inspection.findings, key=lambda f: -f.severity.rank)
    admitted = frozenset(inspection.admitted)
    return FileReport(name, label, verdict, tuple(findings), tuple(inspection.not_checked), admitted)


def _is_shard(path: str) -> bool:
    """Return whether a file without any format is one of the shards of numbers that a checkpoint's index names."""
    found = _SHARD.search(path)
    if not found:
        return False
    try:
        with open(f"{path[: found.start()]}.index", "rb") as stream:
            stream.seek(-len(INDEX_MAGIC), os.SEEK_END)
            return stream.read() == INDEX_MAGIC
    except OSError:
        return False


__all__ = ["FileReport", "FileVerdict", "Limits", "ScanReport", "explain", "scan", "scan_bytes", "scan_paths"]

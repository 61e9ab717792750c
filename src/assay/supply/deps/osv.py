"""Known vulnerabilities, as OSV records (OSV schema 1.7) from a local dump or a server; what cannot be read is said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from assay.core.errors import AssayError, FormatError
from assay.core.evidence import NotChecked
from assay.core.finding import Finding, Severity
from assay.supply.deps.cvss import base_score
from assay.supply.deps.declared import TECHNIQUE, Package, canonical, host_of, redacted, short
from assay.supply.deps.osv_dump import read_dump
from assay.supply.deps.osv_record import Answer, Key, Record, is_withdrawn, items, parsed, ranges_of, table
from assay.supply.deps.osv_server import ask_server

_WORDS = {
    "LOW": Severity.LOW, "MODERATE": Severity.MEDIUM, "MEDIUM": Severity.MEDIUM, "HIGH": Severity.HIGH,
    "CRITICAL": Severity.CRITICAL,
}  # fmt: skip
_REMEDY = "Give a folder or .zip of OSV records of PyPI, or the URL of a server that answers /v1/querybatch"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known against packages. records: advisories read about PyPI; newest: time of the latest one, "" unknown."""

    findings: tuple[Finding, ...]
    unread: tuple[NotChecked, ...] = ()
    records: int = 0
    newest: str = ""


def check_known(packages: Sequence[Package], source: str | os.PathLike[str]) -> Known:
    """Return the advisories on exact versions. source: a folder, .zip or .json of OSV records, or a server's URL.

    A source that cannot be read, or holds nothing about PyPI, is a finding and not checked, never clean.
    """
    text = os.fspath(source)
    places: dict[Key, Package] = {}
    for package in packages:
        if package.name and package.version:
            places.setdefault((package.name, package.version), package)
    findings: list[Finding] = []
    try:
        answer = ask_server(text, places) if "://" in text else read_dump(Path(text), places)
    except AssayError as error:
        answer = Answer(unread=[NotChecked(redacted(text), error.message, error.remedy or _REMEDY)])
    if answer.unread:
        what = f"known vulnerabilities could not all be read: {answer.unread[0].why}"
        findings.append(Finding("deps-osv-unread", Severity.HIGH, what, answer.unread[0].what, _REMEDY, TECHNIQUE))
    if text.startswith("http://") and host_of(text) not in {"localhost", "127.0.0.1", "::1"}:
        what = "advisories come without TLS, so anyone on the way can leave some out"
        findings.append(
            Finding("deps-osv-plain-http", Severity.MEDIUM, what, redacted(text), "Use https://", TECHNIQUE)
        )
    for key, records in answer.hits.items():
        groups = grouped(r for r in records if not is_withdrawn(r))
        findings += [_finding(places[key], group) for group in groups]
    return Known(tuple(findings), tuple(answer.unread), answer.records, answer.newest)


def severity_of(record: Record) -> Severity | None:
    """Return how bad a record says it is: malice, its CVSS 3 score, or its database's word; None when it does not say."""
    if str(record.get("id", "")).startswith("MAL-"):
        return Severity.CRITICAL
    parts = [record, *(table(a) for a in items(record.get("affected")))]
    scores = [
        score
        for part in parts
        for entry in items(part.get("severity"))
        if (score := base_score(str(table(entry).get("score", "")))) is not None
    ]
    if scores:
        top = max(scores)
        return next(
            (
                s
                for least, s in ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM))
                if top >= least
            ),
            Severity.LOW,
        )
    words = [
        str(table(part.get(key)).get("severity", "")).upper()
        for part in parts
        for key in ("database_specific", "ecosystem_specific")
    ]
    found = [_WORDS[w] for w in words if w in _WORDS]
    return max(found, key=lambda s: s.rank, default=None)


def grouped(records: Iterator[Record]) -> list[list[Record]]:
    """Return the records with those of one vulnerability together: told by id and aliases."""
    groups: list[tuple[set[str], list[Record]]] = []
    for record in records:
        names = {str(record.get("id", "")), *(str(a) for a in items(record.get("aliases")))}
        held = [record]
        apart = []
        for known, others in groups:
            if known & names:
                names, held = names | known, others + held
            else:
                apart.append((known, others))
        groups = [*apart, (names, held)]
    return [held for _, held in groups]


def _finding(package: Package, group: Sequence[Record]) -> Finding:
    ids = sorted({str(r.get("id", "")) for r in group} | {str(a) for r in group for a in items(r.get("aliases"))})
    ids.sort(key=lambda i: not i.startswith("CVE-"))
    told = [s for r in group if (s := severity_of(r)) is not None]
    severity = max(told, key=lambda s: s.rank, default=Severity.MEDIUM)
    malice = any(i.startswith("MAL-") for i in ids)
    summary = next((str(r["summary"]) for r in group if r.get("summary")), "")
    shown = short(" ".join([ids[0], f"({', '.join(ids[1:4])})" if ids[1:] else ""]).strip())
    what = f"{short(package.name)} {short(package.version)}: {shown}{': ' if summary else ''}{short(summary)}"
    if not told:
        what += " (severity not stated)"
    fixed = _fixed(package, group)
    remedy = f"Upgrade to {short(fixed)} or later" if fixed else "Use another package or version; no fix is known"
    if malice:
        remedy = "Remove it, and treat every machine that installed it as taken over"
    return Finding("deps-malicious" if malice else "deps-vulnerable", severity, what, package.place, remedy, TECHNIQUE)


def _fixed(package: Package, group: Sequence[Record]) -> str:
    """Return the lowest version above the package's in which all of a group is repaired, "" when none is known."""
    try:
        now = parsed(package.version)
    except FormatError:
        return ""
    best: list[Version] = []
    for record in group:
        later = []
        for entry in (table(a) for a in items(record.get("affected"))):
            if canonical(str(table(entry.get("package")).get("name", ""))) != package.name:
                continue
            for event in (table(e) for r in ranges_of(entry) for e in items(r.get("events"))):
                try:
                    found = Version(str(event.get("fixed", "")))
                except InvalidVersion:
                    continue
                later += [found] if found > now else []
        if later:
            best.append(min(later))
    return str(max(best)) if best else ""

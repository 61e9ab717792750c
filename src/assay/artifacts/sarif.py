"""Scan reports as SARIF 2.1.0 (OASIS), the format that code hosts and editors show."""

from __future__ import annotations

from urllib.parse import quote

from assay import __version__
from assay.artifacts.report import FileReport, FileVerdict, ScanReport
from assay.core.finding import Finding, Severity

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.NOTE: "note", Severity.LOW: "note", Severity.MEDIUM: "warning",
    Severity.HIGH: "error", Severity.CRITICAL: "error",
}  # fmt: skip


def sarif_log(report: ScanReport) -> dict[str, object]:
    """Return a SARIF log with one result a finding, and one a file that could not be examined."""
    results = [_result(file, f) for file in report.files for f in file.findings]
    results += [
        _unchecked(file) for file in report.files if file.verdict in {FileVerdict.ERROR, FileVerdict.UNSUPPORTED}
    ]
    rules = sorted({str(r["ruleId"]) for r in results})
    driver = {"name": "assay", "version": __version__, "rules": [{"id": rule, "name": rule} for rule in rules]}
    for result in results:
        result["ruleIndex"] = rules.index(str(result["ruleId"]))
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(file: FileReport, finding: Finding) -> dict[str, object]:
    properties = {"severity": finding.severity.value, "technique": finding.technique, "remedy": finding.remedy}
    return {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [_location(file, finding.location)],
        "properties": {k: v for k, v in properties.items() if v},
    }


def _unchecked(file: FileReport) -> dict[str, object]:
    why = "; ".join(f"{n.what}: {n.why}" for n in file.not_checked)
    return {
        "ruleId": f"scan-{file.verdict.value}",
        "level": "error",
        "message": {"text": f"The file could not be examined ({why})"},
        "locations": [_location(file, "")],
    }


def _location(file: FileReport, place: str) -> dict[str, object]:
    physical: dict[str, object] = {"artifactLocation": {"uri": quote(file.path)}}
    offset = place.rpartition("@")[2]
    if offset.isdigit() and "!" not in place:
        physical["region"] = {"byteOffset": int(offset)}
    logical = [{"fullyQualifiedName": place}] if place else []
    return {"physicalLocation": physical, **({"logicalLocations": logical} if logical else {})}

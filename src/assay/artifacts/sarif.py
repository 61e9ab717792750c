"""Scan reports as SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Mapping

from assay.artifacts.baseline import Acceptance
from assay.artifacts.report import FileReport, FileVerdict, ScanReport
from assay.core.sarif import Place, sarif_log, sarif_result


def scan_sarif(report: ScanReport, accepted: Mapping[str, tuple[Acceptance, ...]] | None = None) -> dict[str, object]:
    """Return a SARIF log with one result a finding, and one a file that could not be examined.

    accepted: by path, what a baseline accepts; those results carry it as a suppression.
    """
    results = []
    unread = {FileVerdict.ERROR, FileVerdict.UNSUPPORTED}
    for file in report.files:
        own = [sarif_result(f, _place(file, f.location)) for f in file.findings]
        own += [_unchecked(file)] if file.verdict in unread else []
        rows = {a.rule: a for a in (accepted or {}).get(file.path, ())}
        results += [_suppressed(r, rows[str(r["ruleId"])]) if r["ruleId"] in rows else r for r in own]
    return sarif_log(results)


def _suppressed(result: dict[str, object], row: Acceptance) -> dict[str, object]:
    why = f"{row.reason} ({row.by}, until {row.until})"
    return {**result, "suppressions": [{"kind": "external", "status": "accepted", "justification": why}]}


def _unchecked(file: FileReport) -> dict[str, object]:
    why = "; ".join(f"{n.what}: {n.why}" for n in file.not_checked)
    return {
        "ruleId": f"scan-{file.verdict.value}",
        "level": "error",
        "message": {"text": f"The file could not be examined ({why})"},
        "locations": [Place(file.path).to_json()],
    }


def _place(file: FileReport, location: str) -> Place:
    offset = location.rpartition("@")[2]
    known = offset.isdigit() and "!" not in location
    return Place(file.path, offset=int(offset) if known else None, inside=location)

"""Scan reports as SARIF 2.1.0."""

from __future__ import annotations

from assay.artifacts.report import FileReport, FileVerdict, ScanReport
from assay.core.sarif import Place, sarif_log, sarif_result


def scan_sarif(report: ScanReport) -> dict[str, object]:
    """Return a SARIF log with one result a finding, and one a file that could not be examined."""
    results = [sarif_result(f, _place(file, f.location)) for file in report.files for f in file.findings]
    unread = {FileVerdict.ERROR, FileVerdict.UNSUPPORTED}
    return sarif_log([*results, *(_unchecked(file) for file in report.files if file.verdict in unread)])


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

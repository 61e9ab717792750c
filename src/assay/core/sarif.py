"""Findings as SARIF 2.1.0 (OASIS), the format that code hosts and editors show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from assay import __version__
from assay.core.finding import Finding, Severity

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.NOTE: "note", Severity.LOW: "note", Severity.MEDIUM: "warning",
    Severity.HIGH: "error", Severity.CRITICAL: "error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a result is. path: of the file; line from 1, or offset in bytes from 0 (None: unknown); inside: a member's name."""

    path: str
    line: int | None = None
    offset: int | None = None
    inside: str = ""

    @classmethod
    def of(cls, location: str) -> Place:
        """Return the place in ``path:line``; without a number the whole is the path."""
        path, _, line = location.rpartition(":")
        return cls(path, int(line)) if path and line.isdecimal() and int(line) > 0 else cls(location)

    def to_json(self) -> dict[str, object]:
        """Return the place as a SARIF location."""
        physical: dict[str, object] = {"artifactLocation": {"uri": _uri(self.path)}}
        if self.offset is not None:
            physical["region"] = {"byteOffset": self.offset}
        elif self.line is not None:
            physical["region"] = {"startLine": self.line}
        logical = [{"fullyQualifiedName": self.inside}] if self.inside else []
        return {"physicalLocation": physical, **({"logicalLocations": logical} if logical else {})}


def _uri(path: str) -> str:
    """Return a path as a URI reference; names that are no UTF-8 keep their bytes, and none is taken for a host."""
    text = quote(path.encode("utf-8", "surrogateescape"))
    return f"file://{text}" if text.startswith("//") else text


def sarif_result(finding: Finding, place: Place) -> dict[str, object]:
    """Return one finding as a SARIF result."""
    properties = {"severity": finding.severity.value, "technique": finding.technique, "remedy": finding.remedy}
    return {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [place.to_json()],
        "properties": {k: v for k, v in properties.items() if v},
    }


def sarif_log(results: Iterable[dict[str, object]]) -> dict[str, object]:
    """Return a SARIF log of results, their rules listed."""
    found = list(results)
    rules = sorted({str(r["ruleId"]) for r in found})
    driver = {"name": "assay", "version": __version__, "rules": [{"id": rule, "name": rule} for rule in rules]}
    for result in found:
        result["ruleIndex"] = rules.index(str(result["ruleId"]))
    run = {"tool": {"driver": driver}, "results": found, "columnKind": "unicodeCodePoints"}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def sarif_of(findings: Iterable[Finding]) -> dict[str, object]:
    """Return a SARIF log of findings whose locations read ``path:line``."""
    return sarif_log(sarif_result(f, Place.of(f.location)) for f in findings)

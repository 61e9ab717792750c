"""What the scanner says of each file, and of all of them together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from assay.core.evidence import NotChecked
from assay.core.finding import Finding, Severity

_MEDIUM, _CRITICAL = Severity.MEDIUM.rank, Severity.CRITICAL.rank


class FileVerdict(str, Enum):
    """What a file is to the person who wants to load it; only ``CLEAN`` lets it through."""

    CLEAN = "clean"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    SUSPICIOUS = "suspicious"
    MALICIOUS = "malicious"

    @property
    def rank(self) -> int:
        """0 for clean up to 4 for malicious."""
        return _RANKS[self]


_RANKS = {verdict: rank for rank, verdict in enumerate(FileVerdict)}


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file: its path, the format that its content has, the verdict and what it rests on.

    admitted: the names, as (module, name), that its pickles import and that the policy allows.
    """

    path: str
    format: str
    verdict: FileVerdict
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    admitted: frozenset[tuple[str, str]] = frozenset()

    def to_json(self) -> dict[str, object]:
        """Return the report of the file as plain data."""
        return {
            "path": self.path,
            "format": self.format,
            "verdict": self.verdict.value,
            "findings": [
                {"rule": f.rule, "severity": f.severity.value, "message": f.message, "location": f.location,
                 "technique": f.technique}
                for f in self.findings
            ],
            "not_checked": [{"what": n.what, "why": n.why} for n in self.not_checked],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScanReport:
    """All files of a scan, in the order in which they were met."""

    files: tuple[FileReport, ...]

    @property
    def verdict(self) -> FileVerdict:
        """The worst verdict of any file; ``unsupported`` when there was none to look at."""
        return max((f.verdict for f in self.files), key=lambda v: v.rank, default=FileVerdict.UNSUPPORTED)

    @property
    def summary(self) -> dict[str, int]:
        """How many files there were, and how many of each verdict."""
        counts = Counter(f.verdict for f in self.files)
        return {"files": len(self.files), **{v.value: counts[v] for v in FileVerdict}}

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {"files": [f.to_json() for f in self.files], "summary": dict(self.summary)}

    def to_sarif(self) -> dict[str, object]:
        """Return the report as a SARIF 2.1.0 log."""
        from assay.artifacts.sarif import scan_sarif

        return scan_sarif(self)


def verdict_of(findings: list[Finding], failed: bool, unsupported: bool) -> FileVerdict:
    """Return the verdict: the worst finding decides, then whether anything could not be examined."""
    top = max((f.severity.rank for f in findings), default=0)
    if top >= _CRITICAL:
        return FileVerdict.MALICIOUS
    if top >= _MEDIUM:
        return FileVerdict.SUSPICIOUS
    if failed:
        return FileVerdict.ERROR
    return FileVerdict.UNSUPPORTED if unsupported else FileVerdict.CLEAN

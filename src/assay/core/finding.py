"""A single thing that a control found, with its place and its remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from assay.core.errors import FormatError


class Severity(str, Enum):
    """How bad a finding is, from note to critical; ordered by ``rank``."""

    NOTE = "note"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for a note up to 4 for critical."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, how bad, where, and what to do about it.

    rule: stable id such as ``pickle-dangerous-global``; location: file, member, byte offset, column
    or row; technique: ATLAS id ("" where none applies).
    """

    rule: str
    severity: Severity
    message: str
    location: str = ""
    remedy: str = ""
    technique: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the finding as plain data."""
        record: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        record["severity"] = self.severity.value
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Finding:
        """Return the finding from its plain data. Raises FormatError."""
        try:
            fields = dict(record)
            return cls(**{**fields, "severity": Severity(fields["severity"])})  # type: ignore[arg-type]
        except (TypeError, KeyError, ValueError) as error:
            raise FormatError(f"not a finding ({error})") from error


def worst(findings: Iterable[Finding]) -> Severity | None:
    """Return the highest severity among the findings, None when there are none."""
    return max((f.severity for f in findings), key=lambda s: s.rank, default=None)

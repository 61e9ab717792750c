"""Evidence: what one control looked at, measured, found and could not check.

"Not checked" is a value. It travels to the report and the gate, and it blocks there: silence never
reads as a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from assay.core.clock import format_time, parse_time
from assay.core.digest import Digest
from assay.core.errors import FormatError
from assay.core.finding import Finding, Severity, worst
from assay.core.measure import Measure


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing that was looked at: its name and its digest."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Something that a control should have examined and could not, why, and what would help."""

    what: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The result of one control.

    control: its discovered name, as in ``scan`` or ``membership.rmia``. subjects: what it looked at.
    techniques: ATLAS ids it speaks to. parameters: settings that shape the result, as plain JSON.
    made: time it was made; expires: after which a gate ignores it (None: by policy).
    """

    control: str
    subjects: tuple[Subject, ...]
    made: datetime
    techniques: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    parameters: Mapping[str, object] | None = None
    expires: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that should have been examined was."""
        return not self.not_checked

    def clean(self, fail_on: Severity = Severity.MEDIUM) -> bool:
        """Return whether all was checked and no finding reaches ``fail_on``."""
        top = worst(self.findings)
        return self.complete and (top is None or top.rank < fail_on.rank)

    def measure(self, name: str) -> Measure | None:
        """Return the measure of that name, None when it was not made."""
        return next((m for m in self.measures if m.name == name), None)

    def voided(self, why: str) -> Evidence:
        """Return the same evidence with every measure marked void."""
        return replace(self, measures=tuple(m.voided(why) for m in self.measures))

    def to_json(self) -> dict[str, object]:
        """Return the evidence as plain data, the predicate of an in-toto statement."""
        return {
            "control": self.control,
            "subjects": [{"name": s.name, "digest": str(s.digest)} for s in self.subjects],
            "made": format_time(self.made),
            "expires": format_time(self.expires) if self.expires else None,
            "techniques": list(self.techniques),
            "measures": [m.to_json() for m in self.measures],
            "findings": [f.to_json() for f in self.findings],
            "not_checked": [{"what": n.what, "why": n.why, "remedy": n.remedy} for n in self.not_checked],
            "parameters": dict(self.parameters or {}),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Evidence:
        """Return the evidence from its plain data. Raises FormatError. Round trip with ``to_json``."""
        try:
            expires = record.get("expires")
            return cls(
                control=str(record["control"]),
                subjects=tuple(
                    Subject(str(s["name"]), Digest.parse(str(s["digest"]))) for s in _rows(record["subjects"])
                ),
                made=parse_time(str(record["made"])),
                techniques=tuple(str(t) for t in _list(record.get("techniques", []))),
                measures=tuple(Measure.from_json(m) for m in _rows(record.get("measures", []))),
                findings=tuple(Finding.from_json(f) for f in _rows(record.get("findings", []))),
                not_checked=tuple(
                    NotChecked(str(n["what"]), str(n["why"]), str(n.get("remedy", "")))
                    for n in _rows(record.get("not_checked", []))
                ),
                parameters=dict(_mapping(record.get("parameters") or {})) or None,
                expires=parse_time(str(expires)) if expires else None,
            )
        except KeyError as error:
            raise FormatError(f"evidence lacks the field {error}") from error


def merge_findings(items: Iterable[Evidence]) -> tuple[Finding, ...]:
    """Return all findings of several pieces of evidence, worst first, order kept within a severity."""
    found = [f for item in items for f in item.findings]
    return tuple(sorted(found, key=lambda f: -f.severity.rank))


def _list(value: object) -> list[object]:
    if not isinstance(value, (list, tuple)):
        raise FormatError(f"expected a list in evidence, found {type(value).__name__}")
    return list(value)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise FormatError(f"expected a record in evidence, found {type(value).__name__}")
    return value


def _rows(value: object) -> list[Mapping[str, object]]:
    return [_mapping(item) for item in _list(value)]

"""Accepted findings: for one file's bytes, by a named person, with a reason and an end of at most a year.

What is accepted stays in the report and keeps its verdict; only the exit code no longer counts it. Other bytes under
the same name are not accepted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from assay.artifacts.report import FileReport, FileVerdict, ScanReport
from assay.core.canonical import parse
from assay.core.digest import Digest
from assay.core.errors import FormatError, SettingError
from assay.core.files import read_bytes, write_record

LONGEST = timedelta(days=366)
_LIMIT = 16 << 20
_FORM = "assay-baseline/1"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One rule that is accepted in one file. path: as last seen, for people; until: the last day on which it holds."""

    rule: str
    digest: Digest
    path: str
    reason: str
    by: str
    until: date

    def to_json(self) -> dict[str, object]:
        """Return the acceptance as plain data."""
        return {
            "rule": self.rule, "digest": str(self.digest), "path": self.path, "reason": self.reason, "by": self.by,
            "until": self.until.isoformat(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, record: object, where: str = "") -> Acceptance:
        """Return the acceptance from its plain data. Raises FormatError."""
        if not isinstance(record, Mapping) or set(record) != {"rule", "digest", "path", "reason", "by", "until"}:
            raise FormatError("an acceptance has rule, digest, path, reason, by and until", where=where)
        texts = {name: value for name, value in record.items() if isinstance(value, str) and value.strip()}
        if len(texts) != len(record):
            raise FormatError("an acceptance needs every field, as text", where=where, remedy="Fill in what is empty")
        try:
            until = date.fromisoformat(texts["until"])
        except ValueError as error:
            raise FormatError(f"{texts['until']!r} is no date", where=where, remedy="Write 2027-01-31") from error
        return cls(texts["rule"], Digest.parse(texts["digest"]), texts["path"], texts["reason"], texts["by"], until)


@dataclass(frozen=True, slots=True)
class Judged:
    """A scan after the baseline. accepted: by path; open_verdict: the worst that nobody accepted; notes: for the user."""

    report: ScanReport
    accepted: Mapping[str, tuple[Acceptance, ...]]
    open_verdict: FileVerdict
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data, each accepted file with who accepted it."""
        record = self.report.to_json()
        for file in self.report.files:
            if file.path in self.accepted:
                rows = [a.to_json() for a in self.accepted[file.path]]
                next(f for f in record["files"] if f["path"] == file.path)["accepted"] = rows  # type: ignore[attr-defined]
        return {**record, "notes": list(self.notes)} if self.notes else record


def rules_of(file: FileReport) -> frozenset[str]:
    """Return the rules that stand against a file: its findings, and ``scan-error`` or ``scan-unsupported``."""
    found = {f.rule for f in file.findings}
    if file.not_checked or file.verdict in {FileVerdict.ERROR, FileVerdict.UNSUPPORTED}:
        kind = file.verdict if file.verdict is FileVerdict.UNSUPPORTED else FileVerdict.ERROR
        found.add(f"scan-{kind.value}")
    return frozenset(found)


class Baseline:
    """The acceptances of a file, looked up by content."""

    def __init__(self, acceptances: Iterable[Acceptance] = ()) -> None:
        self.acceptances = tuple(acceptances)
        self._rows: dict[Digest, list[Acceptance]] = {}
        for row in self.acceptances:
            self._rows.setdefault(row.digest, []).append(row)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Baseline:
        """Return the baseline in a file. Raises DataError when it cannot be read, FormatError when it is none."""
        where = os.fspath(path)
        record = parse(read_bytes(path, limit=_LIMIT), where=where)
        rows = record.get("accepted") if isinstance(record, dict) and record.get("form") == _FORM else None
        if not isinstance(rows, list):
            raise FormatError("is no baseline", where=where, remedy="Write one with assay scan --accept")
        return cls([Acceptance.from_json(row, f"{where}: accepted[{i}]") for i, row in enumerate(rows)])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the baseline, sorted, in one step."""
        rows = sorted((a.to_json() for a in self.acceptances), key=lambda r: (r["path"], r["rule"], r["digest"]))
        write_record(path, {"form": _FORM, "accepted": rows})

    def judge(self, report: ScanReport, digests: Mapping[str, Digest], today: date) -> Judged:
        """Return the report with what is accepted today, and the verdict of the rest.

        digests: of the files that are not clean, by their path in the report. What has run out counts again, and is told.
        """
        accepted: dict[str, tuple[Acceptance, ...]] = {}
        used: set[Acceptance] = set()
        worst, notes = FileVerdict.CLEAN if report.files else report.verdict, []
        for file in report.files:
            rows = self._rows.get(digests[file.path], []) if file.path in digests else []
            used.update(rows)
            live = tuple(row for row in rows if today <= row.until <= today + LONGEST)
            for row in rows:
                if row not in live:
                    why = f"ran out on {row.until}" if row.until < today else f"lasts longer than {LONGEST.days} days"
                    notes.append(f"{file.path}: the acceptance of {row.rule} {why}")
            if live and rules_of(file) <= {row.rule for row in live}:
                accepted[file.path] = live
            else:
                worst = max(worst, file.verdict, key=lambda v: v.rank)
        unused = (row for row in self.acceptances if row not in used)
        notes += [f"{row.path}: the acceptance of {row.rule} matches nothing" for row in unused]
        return Judged(report, accepted, worst, tuple(notes))

    def accepting(
        self, report: ScanReport, digests: Mapping[str, Digest], *, reason: str, by: str, until: date, today: date
    ) -> Baseline:
        """Return a baseline that also accepts everything in the report. Raises SettingError for an end too far."""
        if not reason.strip() or not by.strip():
            raise SettingError(
                "an acceptance names its reason and who gives it", remedy="Give --accept REASON --by NAME"
            )
        if not today <= until <= today + LONGEST:
            raise SettingError(
                f"an acceptance ends within {LONGEST.days} days", where=f"--until {until}",
                remedy=f"Give a day from {today} to {today + LONGEST}",
            )  # fmt: skip
        rows = {(a.digest, a.rule): a for a in self.acceptances}
        for file in report.files:
            if file.path in digests:
                digest = digests[file.path]
                rows.update({(digest, r): Acceptance(r, digest, file.path, reason, by, until) for r in rules_of(file)})
        return Baseline(rows.values())

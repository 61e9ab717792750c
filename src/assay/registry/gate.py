"""The gate: evidence against a policy, row by row. It reads evidence and nothing else.

What was not measured, is void, is too old or is about another model never counts as passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from assay.core.clock import format_time, parse_time
from assay.core.digest import Digest, digest_record
from assay.core.errors import FormatError
from assay.core.evidence import Evidence
from assay.core.finding import Finding
from assay.core.measure import Measure, Verdict
from assay.registry.policy import Policy, Rule

# From the one that weighs most to the one that weighs least.
_WEIGHT = (Verdict.FAIL, Verdict.VOID, Verdict.NOT_CHECKED, Verdict.UNCERTAIN, Verdict.PASS)


@dataclass(frozen=True, slots=True)
class GateRow:
    """One line of the report. subject: measure, control or finding; estimate, low, high: None where nothing was measured."""

    subject: str
    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: str = ""
    why: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the row as plain data."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "verdict": self.verdict.value}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> GateRow:
        """Return the row in plain data. Raises FormatError."""
        try:
            return cls(**{**record, "verdict": Verdict(record["verdict"])})  # type: ignore[arg-type]
        except (TypeError, KeyError, ValueError) as error:
            raise FormatError(f"not a row of a gate's report ({error})") from error


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate said of a model. digest: of the model; policy_digest: of the policy; made: when.

    Round trip: ``GateReport.from_json(r.to_json()) == r``.
    """

    digest: Digest
    policy_digest: Digest
    made: datetime
    rows: tuple[GateRow, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict that weighs most: fail, void, not checked, uncertain, pass. A report without rows is not checked."""
        if not self.rows:
            return Verdict.NOT_CHECKED
        return min((row.verdict for row in self.rows), key=_WEIGHT.index)

    def digest_of(self) -> Digest:
        """Return the digest of the report, which approvals name."""
        return digest_record(self.to_json())

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {
            "digest": str(self.digest),
            "policy": str(self.policy_digest),
            "made": format_time(self.made),
            "verdict": self.verdict.value,
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> GateReport:
        """Return the report in plain data. Raises FormatError, also when it states another verdict than its rows give."""
        rows = record.get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise FormatError("not a gate's report")
        report = cls(
            Digest.parse(str(record.get("digest"))),
            Digest.parse(str(record.get("policy"))),
            parse_time(str(record.get("made"))),
            tuple(GateRow.from_json(row) for row in rows),
        )
        if record.get("verdict") != report.verdict.value:
            raise FormatError("a gate's report states another verdict than its rows give")
        return report


def evaluate(policy: Policy, evidence: Sequence[Evidence], digest: Digest, *, now: datetime) -> GateReport:
    """Return the report on the model of that digest. Rows: thresholds first, then controls, then findings.

    Evidence about another model, too old, or expired counts as none; so does what a control could not check.
    """
    fresh, rows = [], []
    for item in evidence:
        why = _unusable(item, digest, policy, now)
        if why:
            rows.append(GateRow(item.control, Verdict.NOT_CHECKED, why=why, remedy="Measure again on this model"))
        else:
            fresh.append(item)
    judged = [row for rule in policy.rules for row in _judged(rule, fresh)]
    required = [row for pattern in policy.require for row in _required(pattern, fresh)]
    required += [row for pattern in policy.complete if _speakers(pattern, fresh) for row in _required(pattern, fresh)]
    found = [
        _finding(item.control, f) for item in fresh for f in item.findings if f.severity.rank >= policy.fail_on.rank
    ]
    return GateReport(digest, policy.digest(), now, (*judged, *required, *found, *rows))


def _unusable(item: Evidence, digest: Digest, policy: Policy, now: datetime) -> str:
    if not any(subject.digest == digest for subject in item.subjects):
        return "is about another model"
    if item.expires is not None and now > item.expires:
        return f"expired on {format_time(item.expires)}"
    if now - item.made > policy.max_age:
        return f"is older than {policy.max_age_days} days"
    return ""


def _judged(rule: Rule, evidence: Iterable[Evidence]) -> list[GateRow]:
    rows = [_held(rule, m) for item in evidence for m in item.measures if rule.matches(m.name)]
    if rows or rule.optional:
        return rows
    why = "nothing measured it"
    return [GateRow(rule.measure, Verdict.NOT_CHECKED, threshold=rule.threshold, why=why, remedy="Run the assessment")]


def _held(rule: Rule, measure: Measure) -> GateRow:
    verdict = measure.against(at_least=rule.at_least, at_most=rule.at_most)
    why = measure.void
    if verdict is Verdict.UNCERTAIN:
        why = f"the interval straddles the threshold (n = {measure.n})"
        if rule.on_uncertain == "fail":
            verdict, why = Verdict.FAIL, f"{why}, which this policy does not accept"
    remedy = "Measure on more rows, or let an approver decide" if verdict is Verdict.UNCERTAIN else ""
    return GateRow(
        measure.name, verdict, measure.estimate, measure.low, measure.high, rule.threshold, why or rule.why, remedy
    )


def _speakers(pattern: str, evidence: Sequence[Evidence]) -> list[Evidence]:
    return [item for item in evidence if fnmatchcase(item.control, pattern)]


def _required(pattern: str, evidence: Sequence[Evidence]) -> list[GateRow]:
    found = _speakers(pattern, evidence)
    if not found:
        why = "this control has not spoken about this model"
        return [GateRow(pattern, Verdict.NOT_CHECKED, threshold="must have been checked", why=why, remedy="Run it")]
    rows = []
    for item in found:
        for missing in item.not_checked:
            what = f"{item.control}: {missing.what}"
            rows.append(GateRow(what, Verdict.NOT_CHECKED, why=missing.why, remedy=missing.remedy))
    return rows or [GateRow(pattern, Verdict.PASS, threshold="must have been checked")]


def _finding(control: str, finding: Finding) -> GateRow:
    where = f" at {finding.location}" if finding.location else ""
    return GateRow(
        f"{control}: {finding.rule}", Verdict.FAIL, threshold=f"no {finding.severity.value} finding",
        why=f"{finding.message}{where}", remedy=finding.remedy,
    )  # fmt: skip

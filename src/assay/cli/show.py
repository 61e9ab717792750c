"""How evidence is printed: measures and findings as tables, or as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from assay.cli.output import Output
from assay.core.evidence import Evidence, merge_findings
from assay.core.finding import Severity
from assay.core.measure import Verdict

if TYPE_CHECKING:
    from assay.flows.fix import Fix
    from assay.flows.monitor import Watch
    from assay.flows.side_effects import SideEffects
    from assay.registry.gate import GateReport


def show_evidence(output: Output, evidence: Evidence, *, fail_on: Severity = Severity.MEDIUM) -> int:
    """Print one piece of evidence; return 0 when clean, 1 on findings, 3 when something was not checked."""
    output.document(evidence.to_json())
    _tables(output, (evidence,))
    if evidence.not_checked and not any(f.severity.rank >= fail_on.rank for f in evidence.findings):
        return 3
    return 0 if evidence.clean(fail_on) else 1


def show_audit(output: Output, record: Mapping[str, object], *, wanted: bool) -> int:
    """Print the audit of a private training; return 1 when it fails, 3 when it was wanted and not made, else 0."""
    from assay.flows.train import audit_line

    evidence = Evidence.from_json(record)
    output.text(f"privacy audit: {audit_line(evidence)}")
    _tables(output, (evidence,))
    if evidence.findings:
        return 1
    return 3 if wanted and evidence.not_checked else 0


def show_measures(output: Output, items: Sequence[Evidence], closing: str) -> int:
    """Print several pieces of evidence and a closing line; return 0, or 3 when something was not checked."""
    output.document({"evidence": [item.to_json() for item in items]})
    _tables(output, items)
    output.text(closing)
    return 3 if any(item.not_checked for item in items) else 0


def show_fix(output: Output, items: Sequence[Evidence], fix: Fix, closing: str) -> int:
    """Print evidence, the table of remedies and the conclusion; return 0, or 3 when something was not checked."""
    from assay.flows.fix import HEADS

    output.document({"evidence": [item.to_json() for item in items], "fix": fix.to_json()})
    _tables(output, items)
    output.table(HEADS, fix.rows(), title="\nWhat would help")
    output.text(fix.closing())
    output.text(closing)
    return 3 if any(item.not_checked for item in items) else 0


def show_matrix(output: Output, found: SideEffects, evidence: Evidence) -> int:
    """Print the matrix of defences, what gets worse and what was not measured; return 0, or 3 when something was not."""
    output.document(evidence.to_json())
    output.table(found.heads, found.table())
    rows = [(f.severity.value, f.location, f.message) for f in evidence.findings]
    if rows:
        output.table(("severity", "defence", "what"), rows, title="\nWhat gets worse")
    if evidence.not_checked:
        output.table(("not checked", "why"), [(n.what, n.why) for n in evidence.not_checked], title="")
    return 3 if evidence.not_checked else 0


def gate_rows(report: GateReport) -> list[tuple[object, ...]]:
    """Return the rows of a gate's report as cells: measure, estimate, interval, policy, verdict, why.

    Controls that only had to speak, and did, share one row.
    """
    rows: list[tuple[object, ...]] = []
    spoke = [row.subject for row in report.rows if row.estimate is None and row.verdict is Verdict.PASS]
    if spoke:
        rows.append((f"{len(spoke)} controls", "", "", "must have been checked", "pass", ", ".join(spoke)))
    for row in report.rows:
        if row.estimate is None and row.verdict is Verdict.PASS:
            continue
        known = row.estimate is not None
        interval = f"[{row.low:.3g}, {row.high:.3g}]" if row.low is not None and row.high is not None else ""
        rows.append(
            (row.subject, f"{row.estimate:.3g}" if known else "", interval, row.threshold, row.verdict.value, row.why)
        )
    return rows


def show_watch(output: Output, seen: Watch) -> int:
    """Print what monitoring saw; return 1 when an alert fired, else 0."""
    output.document(seen.to_json())
    _tables(output, (seen.evidence,))
    if seen.alerts:
        rows = [(a.severity.value, a.rule, a.message, a.playbook) for a in seen.alerts]
        output.table(("severity", "alert", "what", "playbook"), rows, title="\nAlerts")
    for incident in seen.incidents:
        output.text(f"incident {incident.id}: {incident.title} (assay incident show {incident.id})")
    return 1 if seen.alerts else 0


def _rules(void: str) -> str:
    """Return the rules that a measure is void by, which the findings explain; or the reason, where it names no rule."""
    return ", ".join(reason.partition(":")[0] for reason in void.split("; "))


def _tables(output: Output, items: Sequence[Evidence]) -> None:
    measures = [m for item in items for m in item.measures]
    findings = merge_findings(items)
    missing = [n for item in items for n in item.not_checked]
    if measures:
        rows = [
            (m.name, f"{m.estimate:.4g}", f"[{m.low:.4g}, {m.high:.4g}]", m.n, m.unit, _rules(m.void)) for m in measures
        ]
        output.table(("measure", "estimate", "interval", "n", "unit", "void because"), rows)
    if findings:
        rows_found = [(f.severity.value, f.rule, f.location, f.message, f.remedy) for f in findings]
        output.table(("severity", "rule", "where", "what", "what to do"), rows_found)
    if missing:
        output.table(("not checked", "why", "what to do"), [(n.what, n.why, n.remedy) for n in missing])
    if not (findings or missing):
        output.text("nothing found")

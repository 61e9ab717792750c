"""Writing the report of an assessment or a run: what is put before the reader, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from assay.assessment.assessment import Assessment
from assay.assessment.report.html import GateLine, Report, write_report
from assay.core.digest import Digest
from assay.core.evidence import Evidence
from assay.core.measure import Measure
from assay.registry.gate import GateReport, GateRow

if TYPE_CHECKING:
    from assay.flows.run import RunResult

# Ranking measures first: accuracy alone says nothing where classes are unbalanced.
_LEAD = (
    "quality.auc",
    "quality.average_precision",
    "robust_accuracy@l2_0.5,*",
    "membership.tpr@fpr0.001,*",
    "epsilon@*",
    "epsilon_audited@*",
    "extraction.fidelity@q1000,*",
    "poisoning.auc_drop@flip0.1,*",
)


def assessment_report(path: Path, found: Assessment, *, title: str, made: datetime) -> None:
    """Write the report of an assessment without a gate."""
    write_report(
        path,
        Report(
            title=title, subtitle="Assessment of robustness, privacy and integrity", verdict=None, made=made,
            facts=_facts(found.evidence), lead=_lead(found.measures), gate=(), evidence=found.evidence,
            curves=found.curves, exhibits=found.exhibits, stages=(),
        ),
    )  # fmt: skip


def run_report(path: Path, result: RunResult, made: datetime) -> None:
    """Write the report of a run: the gate first, then what it rests on."""
    project, found = result.project, result.assessment
    subtitle = f"Version {result.version} by {project.author}, held against {project.policy.name}"
    stages = tuple((s.name, s.status, f"{s.detail} ({s.seconds:.1f} s)") for s in result.stages)
    write_report(
        path,
        Report(
            title=project.name, subtitle=subtitle, verdict=result.gate.verdict, made=made,
            facts=(*_facts(found.evidence), *_gate_facts(result.gate)), lead=_lead(found.measures),
            gate=tuple(_line(row) for row in result.gate.rows), evidence=found.evidence, curves=found.curves,
            exhibits=found.exhibits, stages=stages,
        ),
    )  # fmt: skip


def _lead(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """Return the first measure of each kind; of the attacks on membership the one that finds most."""
    alike = ([m for m in measures if fnmatchcase(m.name, pattern)] for pattern in _LEAD)
    return tuple(
        max(same, key=lambda m: m.estimate) if same[0].name.startswith("membership.") else same[0]
        for same in alike
        if same
    )


def _facts(evidence: Sequence[Evidence]) -> tuple[tuple[str, str], ...]:
    subjects: dict[str, Digest] = {}
    facts: list[tuple[str, str]] = []
    for item in evidence:
        subjects.update({s.name: s.digest for s in item.subjects})
        held = item.parameters or {}
        if item.control == "training":
            confined = held.get("isolation")
            engine = confined.get("engine", "") if isinstance(confined, dict) else ""
            estimator = str(held.get("estimator", "")).rpartition(".")[2]
            facts += [("Estimator", estimator), ("Trained under", str(engine))]
        if item.control == "data.validity":
            facts.append(("Rows", f"{held.get('train_rows')} trained on, {held.get('test_rows')} held out"))
        if item.control == "quality":
            facts += [("Profile", str(held.get("profile", ""))), ("Seed", str(held.get("seed", "")))]
    return (*((name, str(digest)) for name, digest in subjects.items()), *facts)


def _gate_facts(gate: GateReport) -> tuple[tuple[str, str], ...]:
    return (("Policy", str(gate.policy_digest)),)


def _line(row: GateRow) -> GateLine:
    known = row.estimate is not None
    interval = f"{row.low:.3g} to {row.high:.3g}" if row.low is not None and row.high is not None else ""
    estimate = f"{row.estimate:.3g}" if known else ""
    return GateLine(row.subject, row.verdict, estimate, interval, row.threshold, row.why, row.remedy)

"""What a report says, before it is set in type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assay.assessment.curves import Curve
from assay.assessment.exhibits import Exhibit
from assay.core.evidence import Evidence
from assay.core.measure import Measure, Verdict


@dataclass(frozen=True, slots=True)
class GateLine:
    """One rule of a policy, held against what was measured, in words."""

    subject: str
    verdict: Verdict
    estimate: str
    interval: str
    threshold: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The content of one report.

    verdict: of the whole gate, None where no policy was applied. made: with a time zone. facts: what was judged, as
    (name, value). lead: measures to show first and large. stages: (name, status, detail) of the run.
    """

    title: str
    subtitle: str
    verdict: Verdict | None
    made: datetime
    facts: tuple[tuple[str, str], ...] = ()
    lead: tuple[Measure, ...] = ()
    gate: tuple[GateLine, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    curves: tuple[Curve, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    stages: tuple[tuple[str, str, str], ...] = ()

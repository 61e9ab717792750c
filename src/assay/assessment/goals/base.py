"""What every goal shares: a failure to measure becomes a value that blocks, never silence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from assay.core.discovery import Control
from assay.core.errors import AssayError
from assay.core.evidence import Evidence, NotChecked, Subject

if TYPE_CHECKING:
    from datetime import datetime

    from assay.assessment.case import Case
    from assay.assessment.curves import Curve
    from assay.assessment.exhibits import Exhibit
    from assay.core.finding import Finding
    from assay.core.measure import Measure


@dataclass(frozen=True, slots=True)
class Seen:
    """What a goal measured, drew, found and could not check. parameters: what shaped it, as plain JSON."""

    measures: tuple[Measure, ...] = ()
    curves: tuple[Curve, ...] = ()
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    exhibits: tuple[Exhibit, ...] = ()


class Goal(Control, package="assay.assessment.goals"):
    """One thing that an attacker may want. Authors write ``look``; order: when it is measured, low first.

    group: the risk that the goal belongs to; naming it measures all of its goals.
    """

    order: ClassVar[int] = 50
    group: ClassVar[str] = ""

    @abstractmethod
    def look(self, case: Case) -> Seen:
        """Return what attacks towards this goal reach on ``case``."""

    def __call__(
        self, case: Case, subjects: tuple[Subject, ...], *, made: datetime, void: str = ""
    ) -> tuple[Evidence, tuple[Curve, ...], tuple[Exhibit, ...]]:
        """Return the evidence of this goal, its curves and its exhibits. void: why no measure may be used ("": they may).

        An error while measuring is recorded as not checked.
        """
        try:
            seen = self.look(case)
        except AssayError as error:
            seen = Seen(not_checked=(NotChecked(self.name, error.message, error.remedy),))
        evidence = Evidence(
            control=self.name, subjects=subjects, made=made, techniques=self.techniques,
            measures=seen.measures, findings=seen.findings, not_checked=seen.not_checked,
            parameters={"profile": case.profile.name, "seed": str(case.seed), **seen.parameters},
        )  # fmt: skip
        return (evidence.voided(void) if void else evidence), seen.curves, seen.exhibits

"""APGD-CE: Auto-PGD on the cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from assay.assessment.evasion.auto_pgd import auto_pgd
from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import cross_entropy
from assay.core.settings import OneOf, Within, setting


@dataclass(frozen=True, slots=True)
class APGDCE(GradientAttack, name="apgd_ce", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Climb the cross-entropy by Auto-PGD (Croce & Hein 2020); it needs no step size."""

    max_queries: int = setting(1000, Within(4, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm of the ball, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    steps: int = setting(100, Within(1, None), "Steps from each start.")
    restarts: int = setting(1, Within(1, None), "Random starts.")

    def walk(self, ground: Ground) -> None:
        """Climb from each start with the samples that are left."""
        at = ground.everyone()
        for _ in range(self.restarts):
            at = auto_pgd(ground, at, cross_entropy, self.steps)

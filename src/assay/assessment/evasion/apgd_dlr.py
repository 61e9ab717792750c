"""APGD-DLR: Auto-PGD on the difference of logits ratio."""

from __future__ import annotations

from dataclasses import dataclass

from assay.assessment.evasion.auto_pgd import auto_pgd
from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import logits_ratio
from assay.core.settings import OneOf, Within, setting


@dataclass(frozen=True, slots=True)
class APGDDLR(GradientAttack, name="apgd_dlr", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Climb the difference of logits ratio by Auto-PGD (Croce & Hein 2020), which scaled logits do not mask."""

    max_queries: int = setting(1000, Within(4, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm of the ball, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    steps: int = setting(100, Within(1, None), "Steps from each start.")
    restarts: int = setting(1, Within(1, None), "Random starts.")

    def walk(self, ground: Ground) -> None:
        """Climb from each start with the samples that are left."""
        at = ground.everyone()
        for _ in range(self.restarts):
            at = auto_pgd(ground, at, logits_ratio, self.steps)

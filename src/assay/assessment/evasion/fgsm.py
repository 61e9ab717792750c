"""FGSM: one step along the gradient, to the edge of the ball."""

from __future__ import annotations

from dataclasses import dataclass

from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import cross_entropy
from assay.assessment.evasion.norms import farthest
from assay.core.settings import OneOf, Within, setting


@dataclass(frozen=True, slots=True)
class FGSM(GradientAttack, name="fgsm", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Take one step of the full radius in the direction in which the loss rises most.

    Goodfellow, Shlens & Szegedy 2015; in L2 and L1 the displacement of that norm that gains most. One gradient a sample: it
    shows little where it fails, and more than iterative attacks only where gradients are masked.
    """

    max_queries: int = setting(3, Within(3, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm of the ball, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")

    def walk(self, ground: Ground) -> None:
        """Take the step, and ask whether it succeeds."""
        at = ground.payable(ground.everyone())
        if not len(at):
            return
        _, slope, _ = ground.climb(ground.nothing()[at], at, cross_entropy)
        step = farthest(ground.xp, slope, self.norm, ground.radius, *ground.box(at))
        ground.confirm(ground.rows(step, at), at)

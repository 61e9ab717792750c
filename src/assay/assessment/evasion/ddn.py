"""DDN: the direction follows the gradient, the norm follows success."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import cross_entropy
from assay.assessment.evasion.norms import unit
from assay.core.settings import OneOf, Within, setting


@dataclass(frozen=True, slots=True)
class DDN(GradientAttack, name="ddn", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Shrink the displacement while it succeeds and stretch it while it does not, and turn it along the gradient.

    Rony et al. 2019 (Decoupled Direction and Norm), algorithm 1: shortest displacements in L2.
    """

    max_queries: int = setting(500, Within(8, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2",)), "Distance that is made small, in scaled units.")
    radius: float | None = setting(
        None, Within(0, None, open_low=True, optional=True), "Most distance that counts as success (none: any)."
    )
    steps: int = setting(100, Within(1, None), "Steps, each one query.")
    start: float = setting(1.0, Within(0, None, open_low=True), "Norm of the first displacement.")
    gamma: float = setting(0.05, Within(0, 1, open_low=True, open_high=True), "By how much the norm changes a step.")

    def walk(self, ground: Ground) -> None:
        """Walk with all samples, and confirm the shortest row of each."""
        xp, at, best = ground.xp, ground.everyone(), ground.shortest()
        delta = ground.nothing()
        norm = self.start + 0 * delta[:, :1]
        for step in range(self.steps):
            at, delta, norm = ground.paying(at, delta, norm)
            if not len(at):
                break
            rows = ground.rows(delta, at)
            _, slope, reached = ground.climb_rows(rows, at, cross_entropy)
            best.see(rows, at, reached)
            pace = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            delta = delta + pace * unit(xp, slope)
            turned = ground.white.index(reached)[:, None]
            norm = xp.where(turned, norm * (1 - self.gamma), norm * (1 + self.gamma))
            delta = xp.clip(norm * unit(xp, delta), *ground.box(at))
        best.confirm()

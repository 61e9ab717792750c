"""PGD: projected gradient ascent from random starts, finished samples dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.evasion.gradient import GradientAttack, Ground, confirmed
from assay.assessment.evasion.losses import Loss, cross_entropy, logits_ratio, margin
from assay.assessment.evasion.norms import length, steepest
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "logits_ratio": logits_ratio, "margin": margin}
# Of the values, those that one step in L1 moves; a single one would need as many steps as there are values.
_L1_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class PGD(GradientAttack, name="pgd", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Climb the loss step by step inside a ball, from a random point of it, and again from others.

    Madry et al. 2018. Steps are 2.5 radii over their number unless given. A sample is dropped once it is turned.
    """

    max_queries: int = setting(1000, Within(4, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm of the ball, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    steps: int = setting(40, Within(1, None), "Steps from each start.")
    restarts: int = setting(1, Within(1, None), "Random starts.")
    step: float | None = setting(None, Within(0, None, open_low=True, optional=True), "Length of a step.")
    loss: str = setting("cross_entropy", OneOf(tuple(LOSSES)), "What is climbed.")

    def walk(self, ground: Ground) -> None:
        """Climb from each start with the samples that are left."""
        at = ground.everyone()
        for _ in range(self.restarts):
            at = self._climb(ground, ground.payable(at))

    def _climb(self, ground: Ground, at: NDArray[np.intp]) -> NDArray[np.intp]:
        """Climb from one random start, and return the positions that are still right."""
        xp, stride = ground.xp, self.step or 2.5 * self.radius / self.steps
        share = ground.white.tensor(np.array([[_L1_SHARE]]))
        delta = ground.bounded(random_start(ground, at), at)
        open_ = []
        for turn in range(self.steps + 1):
            paying = ground.payable(at)
            if len(paying) < len(at):
                stay = np.isin(at, paying)
                open_.append(at[~stay])
                at, delta = paying, delta[stay]
            if not len(at):
                break
            rows = ground.rows(delta, at)
            if turn == self.steps:
                break
            _, slope, reached = ground.climb_rows(rows, at, LOSSES[self.loss])
            done = confirmed(ground, rows, at, reached)
            if done.any():
                at, delta, slope = at[~done], delta[~done], slope[~done]
            delta = ground.bounded(delta + stride * steepest(xp, slope, self.norm, share=share), at)
        # Where the last step led is only asked about, as no further step needs its gradient.
        last = ~ground.confirm(ground.rows(delta, at), at)
        return np.concatenate([*open_, at[last]])


def random_start(ground: Ground, at: NDArray[np.intp]) -> Any:
    """Return random displacements of the ball for positions ``at`` (m,): uniform for Linf, else of random length."""
    xp, shape = ground.xp, tuple(ground.x0[at].shape)
    if ground.norm == "linf":
        return ground.radius * (2 * ground.noise.uniform(*shape) - 1)
    drawn = ground.noise.normal(*shape)
    away = ground.noise.uniform(shape[0], 1)
    return ground.radius * away * drawn / xp.clip(length(xp, drawn, ground.norm), 1e-12, None)

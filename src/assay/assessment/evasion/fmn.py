"""FMN: a ball that closes in on the boundary, in any norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import lead
from assay.assessment.evasion.norms import dual, into_ball, length, unit
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# A ball that ends just at the boundary of a linear model would never let the row cross it.
_BEYOND = 1.05


@dataclass(frozen=True, slots=True)
class FMN(GradientAttack, name="fmn", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Climb the margin inside a ball whose radius grows while the sample is right and shrinks once it is turned.

    Pintor et al. 2021 (Fast Minimum-Norm), algorithm 1: until a sample is first turned, its radius is the distance
    to the boundary of the linearised margin.
    """

    max_queries: int = setting(500, Within(8, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l0", "l1", "l2", "linf")), "Distance that is made small, in scaled units.")
    radius: float | None = setting(
        None, Within(0, None, open_low=True, optional=True), "Most distance that counts as success (none: any)."
    )
    steps: int = setting(200, Within(1, None), "Steps, each one query.")
    stride: float = setting(1.0, Within(0, None, open_low=True), "Length of the first step (L2); falls to a hundredth.")
    gamma: float = setting(
        0.05, Within(0, 1, open_low=True, open_high=True), "By how much the radius changes at first."
    )

    def walk(self, ground: Ground) -> None:
        """Walk with all samples, and confirm the shortest row of each."""
        xp, at, best = ground.xp, ground.everyone(), ground.shortest()
        delta = ground.nothing()
        ball = math.inf + 0 * delta[:, :1]
        for step in range(self.steps):
            at, delta, ball = ground.paying(at, delta, ball)
            if not len(at):
                break
            cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            rows = ground.rows(delta, at)
            value, slope, reached = ground.climb_rows(rows, at, lead)
            best.see(rows, at, reached)
            ball = self._resize(
                ground,
                delta,
                best.length[ground.there(at)],
                reached,
                -value,
                slope,
                ball,
                0.001 + (self.gamma - 0.001) * cosine,
            )
            delta = delta + self.stride * (0.01 + 0.99 * cosine) * unit(xp, slope)
            delta = into_ball(xp, delta, self.norm, ball, *ground.box(at))
        best.confirm()

    def _resize(
        self,
        ground: Ground,
        delta: Any,
        shortest: Any,
        reached: NDArray[np.bool_],
        above: Any,
        slope: Any,
        ball: Any,
        gamma: float,
    ) -> Any:
        """Return the new radius of each ball, (m, 1). above (m, 1): by how much the margin fails."""
        xp = ground.xp
        turned = ground.white.index(reached)[:, None]
        far = length(xp, delta, self.norm)
        linear = far + _BEYOND * xp.clip(above, 0, None) / xp.clip(dual(xp, slope, self.norm), 1e-12, None)
        if self.norm == "l0":
            smaller = xp.minimum(xp.clip(xp.minimum(ball - 1, xp.floor(ball * (1 - gamma))), 1, None), shortest)
            larger = xp.maximum(ball + 1, xp.floor(ball * (1 + gamma)))
            linear = xp.clip(xp.ceil(linear), far + 1, None)
        else:
            smaller, larger = xp.minimum(ball, shortest) * (1 - gamma), ball * (1 + gamma)
        # What the box or a grid cuts off is not gained, so that the linear distance alone may stay short for ever.
        linear = xp.where(ball == math.inf, linear, xp.maximum(linear, larger))
        return xp.where(turned, smaller, xp.where(shortest == math.inf, linear, larger))

"""FAB-T: the nearest point of the decision boundary, class by class, by projection on its linearisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.evasion.apgd_t import aims
from assay.assessment.evasion.gradient import GradientAttack, Ground, Shortest, confirmed
from assay.assessment.evasion.losses import lead, margin
from assay.assessment.evasion.norms import length, onto_plane
from assay.assessment.evasion.pgd import random_start
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.intp]

_OVERSHOOT = 1.05
_BACK = 0.9
_MOST_TRUST = 0.1
# Steps after which those are left out that will not come within the radius.
_PACE = 20


@dataclass(frozen=True, slots=True)
class FABT(GradientAttack, name="fab_t", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Find the shortest displacement to the boundary of each of the likeliest other classes.

    Croce & Hein 2020 (Fast Adaptive Boundary), its targeted form: each step projects both the present point and the
    sample on the linearised boundary inside the box, and goes to a mean of the two. One forward pass a step serves
    both as the test of the new point and as the next linearisation. With a radius, samples turned within it are
    dropped, and so are walks that even at their present pace would not come within it.
    """

    max_queries: int = setting(2000, Within(8, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Distance that is made small, in scaled units.")
    radius: float | None = setting(
        None, Within(0, None, open_low=True, optional=True), "Most distance that counts as success (none: any)."
    )
    steps: int = setting(100, Within(1, None), "Steps towards each class.")
    classes: int = setting(9, Within(1, None), "Other classes aimed at, the likeliest first.")
    restarts: int = setting(1, Within(1, None), "Starts towards each class: the sample itself, then random ones.")

    def walk(self, ground: Ground) -> None:
        """Aim at several classes at once with the samples that are left."""
        for aimed in aims(ground, self.classes):
            at, best = aimed.everyone(), aimed.shortest()
            for turn in range(self.restarts):
                at = self._approach(aimed, at, best, anywhere=turn > 0)
            if self.radius is None:
                best.confirm()

    def _approach(self, ground: Ground, at: Index, best: Shortest, *, anywhere: bool) -> Index:
        """Walk to the boundary of the class that each position aims at; return the positions that are still right."""
        xp = ground.xp
        # Any wrong label will do, unless the attack has targets, which have to beat all other classes.
        loss = margin if ground.oracle.targets is None else lead
        delta = ground.nothing()[at]
        if anywhere and math.isfinite(ground.radius):
            delta = ground.bounded(random_start(ground, at), at)
        before = best.length[at]
        for step in range(self.steps):
            if self.radius is not None and step and step % _PACE == 0:
                stay = _hopeful(ground, best.length[at], before, (self.steps - step) / _PACE)
                at, delta = at[stay], delta[stay]
                before = best.length[at]
            at, delta, before = ground.paying(at, delta, before)
            if not len(at):
                break
            rows = ground.rows(delta, at)
            value, slope, reached = ground.climb_rows(rows, at, loss)
            far = best.see(rows, at, reached)
            if self.radius is not None and reached.any():
                done = confirmed(ground, rows, at, reached & (ground.white.array(far)[:, 0] <= self.radius))
                stay = ~done
                at, delta, value, slope, reached = at[stay], delta[stay], value[stay], slope[stay], reached[stay]
                before = before[stay]
                if not len(at):
                    break
            delta = _step(ground, delta, at, value, slope, xp.where(ground.white.index(reached)[:, None], _BACK, 1.0))
        return at


def _hopeful(ground: Ground, now: Any, before: Any, turns: float) -> NDArray[np.bool_]:
    """Return whose shortest rows, at the pace of the last steps, can still come within the radius, (m,).

    The pace falls as a walk converges, so that going on at it is more than will happen.
    """
    far, earlier = (ground.white.array(part)[:, 0] for part in (now, before))
    known = np.isfinite(far)
    gained = np.subtract(earlier, far, out=np.zeros_like(far), where=known)
    hopeful: NDArray[np.bool_] = known & (far - turns * gained <= ground.oracle.radius)
    return hopeful


def _step(ground: Ground, delta: Any, at: Index, value: Any, slope: Any, back: Any) -> Any:
    """Return the next displacements: between the projections of the point (drawn ``back``) and of the sample.

    value (m, 1), slope (m, d): of the logit wanted less the true one at ``delta``; the boundary is where it is 0.
    """
    xp, norm = ground.xp, ground.norm
    low, high = ground.box(at)
    point = delta * back
    here = value + (slope * (point - delta)).sum(axis=1, keepdims=True)
    start = value - (slope * delta).sum(axis=1, keepdims=True)

    m = len(at)
    # Where a point is wrong already, the boundary lies the other way.
    side = xp.where(xp.concatenate([here, start]) > 0, 1.0, -1.0)
    both = xp.concatenate([here, start])
    origin = xp.concatenate([point, xp.zeros_like(point)])
    move = onto_plane(
        xp, side * xp.concatenate([slope, slope]), xp.abs(both), norm,
        xp.concatenate([low, low]) - origin, xp.concatenate([high, high]) - origin,
    )  # fmt: skip
    near, from_start = move[:m], move[m:]
    far, direct = length(xp, near, norm), length(xp, from_start, norm)
    trust = xp.clip(far / xp.clip(far + direct, 1e-12, None), 0.0, _MOST_TRUST)
    made = (1 - trust) * (point + _OVERSHOOT * near) + trust * _OVERSHOOT * from_start
    return xp.clip(made, low, high)

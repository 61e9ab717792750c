"""EAD: sparse displacements, by an elastic net of L1 and squared L2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.evasion.carlini_wagner import search_price
from assay.assessment.evasion.gradient import GradientAttack, Ground, Shortest
from assay.assessment.evasion.losses import lead
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EAD(GradientAttack, name="ead", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Minimise squared L2 plus ``beta`` times L1 displacement plus ``c`` times the margin that is lacking.

    Chen et al. 2018 (Elastic-net attack), algorithm 1: fast iterative shrinkage and thresholding, clipped to the box;
    ``c`` is searched for each sample. The row kept is the shortest in the norm of the setting, L1 as published.
    """

    max_queries: int = setting(2000, Within(8, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l1", OneOf(("l1", "l2", "linf", "l0")), "Distance by which the row kept is chosen.")
    radius: float | None = setting(
        None, Within(0, None, open_low=True, optional=True), "Most distance that counts as success (none: any)."
    )
    steps: int = setting(150, Within(1, None), "Most steps for each value of c.")
    searches: int = setting(9, Within(1, None), "Values of c tried.")
    start: float = setting(0.01, Within(0, None, open_low=True), "First value of c.")
    beta: float = setting(0.01, Within(0, None), "Weight of L1.")
    rate: float = setting(0.02, Within(0, None, open_low=True), "First step size, falls with the square root.")

    def walk(self, ground: Ground) -> None:
        """Search c with all samples, and confirm the shortest row of each."""
        best = ground.shortest()
        search_price(ground, best, self._descend, searches=self.searches, start=self.start)
        best.confirm()

    def _descend(self, ground: Ground, at: NDArray[np.intp], price: Any, best: Shortest) -> NDArray[np.bool_]:
        """Descend with one value of c each, price (k, 1); return which samples were turned, (k,)."""
        xp = ground.xp
        turned = np.zeros(len(ground.live), dtype=bool)
        delta = ground.nothing()[at]
        ahead, lowest, checked = delta, float("inf") + 0 * delta[:, :1], float("inf")
        pause = max(1, self.steps // 10)
        for step in range(self.steps):
            at, delta, ahead, lowest = ground.paying(at, delta, ahead, lowest)
            if not len(at):
                break
            rows = ground.rows(ahead, at)
            value, slope, reached = ground.climb_rows(rows, at, lead)
            best.see(rows, at, reached)
            turned[at] |= reached
            lacking = xp.where(value < 0, 1.0, 0.0)
            weight = (ahead * ahead + self.beta * xp.abs(ahead)).sum(axis=1, keepdims=True)
            lowest = xp.minimum(lowest, weight - price[ground.there(at)] * lacking * value)
            if (step + 1) % pause == 0:
                now = float(lowest.sum())
                if now > 0.9999 * checked:
                    break
                checked = now
            rate = self.rate * (1 - step / self.steps) ** 0.5
            moved = ahead - rate * (2 * ahead - price[ground.there(at)] * lacking * slope)
            shrunk = xp.sign(moved) * xp.clip(xp.abs(moved) - rate * self.beta, 0, None)
            new = xp.clip(shrunk, *ground.box(at))
            ahead = xp.clip(new + step / (step + 3) * (new - delta), *ground.box(at))
            delta = new
        return turned

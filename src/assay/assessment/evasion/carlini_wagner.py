"""Carlini-Wagner: the least squared displacement, with a price on not succeeding that is searched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.evasion.gradient import SPARE, GradientAttack, Ground, Shortest
from assay.assessment.evasion.losses import lead
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CarliniWagner(GradientAttack, name="carlini_wagner", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Minimise the squared L2 displacement plus ``c`` times the margin by which the sample is still right.

    Carlini & Wagner 2017, section VI, with Adam, and ``c`` searched for each sample by doubling and halving. The box
    is kept by clipping each step (their section V-B), since a feasible region may have no ends, which a change of
    variable needs. A run of steps ends where no sample's objective falls any more.
    """

    max_queries: int = setting(2000, Within(8, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2",)), "Distance that is made small, in scaled units.")
    radius: float | None = setting(
        None, Within(0, None, open_low=True, optional=True), "Most distance that counts as success (none: any)."
    )
    steps: int = setting(150, Within(1, None), "Most steps for each value of c.")
    searches: int = setting(9, Within(1, None), "Values of c tried.")
    start: float = setting(0.01, Within(0, None, open_low=True), "First value of c.")
    rate: float = setting(0.02, Within(0, None, open_low=True), "Learning rate of Adam, in scaled units.")
    confidence: float = setting(0.0, Within(0, None), "Margin of logits to be reached.")

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
        first, second = xp.zeros_like(delta), xp.zeros_like(delta)
        lowest, checked = float("inf") + 0 * delta[:, :1], float("inf")
        pause = max(1, self.steps // 10)
        for step in range(1, self.steps + 1):
            at, delta, first, second, lowest = ground.paying(at, delta, first, second, lowest)
            if not len(at):
                break
            rows = ground.rows(delta, at)
            value, slope, reached = ground.climb_rows(rows, at, lead)
            best.see(rows, at, reached)
            turned[at] |= reached & (ground.white.array(value)[:, 0] >= self.confidence)
            lacking = xp.where(value < self.confidence, 1.0, 0.0)
            cost = (delta * delta).sum(axis=1, keepdims=True) + price[ground.there(at)] * lacking * (
                self.confidence - value
            )
            lowest = xp.minimum(lowest, cost)
            if step % pause == 0:
                now = float(lowest.sum())
                if now > 0.9999 * checked:
                    break
                checked = now
            downhill = 2 * delta - price[ground.there(at)] * lacking * slope
            first, second = 0.9 * first + 0.1 * downhill, 0.999 * second + 0.001 * downhill * downhill
            rise = (first / (1 - 0.9**step)) / (xp.sqrt(second / (1 - 0.999**step)) + 1e-8)
            delta = xp.clip(delta - self.rate * rise, *ground.box(at))
        return turned


def search_price(ground: Ground, best: Shortest, descend: Any, *, searches: int, start: float) -> None:
    """Call ``descend(ground, at, price, best)`` for prices (k, 1) that rise tenfold until a sample is turned, then halve in."""
    k = len(ground.live)
    low, high, price = np.zeros(k), np.full(k, np.inf), np.full(k, start)
    for _ in range(searches):
        at = ground.payable(ground.everyone(), spare=SPARE)
        if not len(at):
            return
        turned = descend(ground, at, ground.white.tensor(price[:, None]), best)
        high = np.where(turned, np.minimum(high, price), high)
        low = np.where(turned, low, np.maximum(low, price))
        price = np.where(np.isinf(high), price * 10, 0.5 * (low + np.where(np.isinf(high), 0.0, high)))

"""ZOO: the slope by differences in a few values at a time, and Adam on distance and success together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import shorten
from assay.assessment.evasion.odds import log_margins_around
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_FAST, _SLOW = 0.9, 0.999
_MOST_REACH = 32.0


@dataclass(frozen=True, slots=True)
class ZOO(EvasionAttack, name="zoo", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")):
    """Minimise squared distance plus a weight times the log margin, by Adam on differences of single values.

    Chen, Zhang, Sharma, Yi & Hsieh 2017 (zeroth-order optimisation, ZOO-ADAM). Where a difference is nothing at all, as
    between the thresholds of a tree, the next one in that value reaches twice as far; values that mattered are asked
    about more often (the paper's importance sampling). The weight grows tenfold, the walk going on, until there is a
    success, and is then halved between the bounds known, from the sample again. What is found is refined.
    """

    max_queries: int = setting(2000, Within(30, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2",)), "Distance that is made small, in scaled units.")
    searches: int = setting(5, Within(1, None), "Weights tried; the budget is divided among them.")
    weight: float = setting(10.0, Within(0, None, open_low=True), "First weight of the log margin.")
    values: int = setting(8, Within(1, None), "Values whose differences are asked in one step.")
    reach: float = setting(0.05, Within(0, None, open_low=True), "First half width of a difference, in scaled units.")
    rate: float = setting(0.1, Within(0, None, open_low=True), "Adam's step, in scaled units.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:  # noqa: ARG002
        """Descend once for each weight, then refine with what is kept back."""
        n = len(oracle.x0)
        weight, low, high = np.full(n, self.weight), np.zeros(n), np.full(n, np.inf)
        reach, shift = np.full(oracle.x0.shape, self.reach), np.zeros_like(oracle.x0)
        kept_back = min(self.max_queries // 4, 60 + 2 * int(oracle.region.mutable.sum()))
        for turn in range(self.searches):
            oracle.reserve = kept_back
            before = oracle.distance.copy()
            each = int(np.maximum(oracle.left[live], 0).max()) // (self.searches - turn)
            with oracle.share(each):
                self._descend(oracle, live, weight, reach, shift, generator)
            won = oracle.distance[live] < before[live]
            high[live[won]], low[live[~won]] = weight[live[won]], weight[live[~won]]
            shift[live[won]] = 0.0
            bounded = np.isfinite(high[live])
            weight[live] = np.where(bounded, (low[live] + np.where(bounded, high[live], 0.0)) / 2, 10 * weight[live])
        oracle.reserve = 0
        shorten(oracle, live)

    def _descend(
        self, oracle: Oracle, live: Index, weight: Array, reach: Array, shift: Array, generator: np.random.Generator
    ) -> None:
        """Take Adam's steps from ``shift`` (n, d), in place, as long as the samples' share of the budget lasts."""
        region, places = oracle.region, np.flatnonzero(oracle.region.mutable)
        b = min(self.values, len(places))
        mean, square, steps = (np.zeros_like(oracle.x0) for _ in range(3))
        while len(live := live[oracle.left[live] >= 2 * b + 1]):
            k, start = len(live), oracle.x0[live]
            row = live[:, None]
            # Not tried first, then by weight (exponential keys): those that mattered, and now and then any other.
            size = np.sqrt(square[live][:, places])
            size = np.where(steps[live][:, places] == 0, np.inf, size + 0.1 * size.max(axis=1, keepdims=True) + 1e-12)
            keys = generator.exponential(size=(k, len(places))) / size
            chosen = places[keys.argsort(axis=1, kind="stable")[:, :b]]
            base = region.project(start + shift[live] * region.scale, start)
            far = np.maximum(reach[row, chosen], region.step[chosen] / region.scale[chosen])
            rows = np.repeat(base[:, None, :], 2 * b + 1, axis=1)
            at, value = np.arange(k)[:, None], np.arange(b)
            rows[at, 2 * value, chosen] += far * region.scale[chosen]
            rows[at, 2 * value + 1, chosen] -= far * region.scale[chosen]
            rows = region.project_around(rows, start)
            loss = log_margins_around(oracle, rows, live)
            flat = (loss[:, 0:-1:2] == loss[:, -1:]) & (loss[:, 1:-1:2] == loss[:, -1:])
            reach[row, chosen] = np.where(flat, np.minimum(2 * reach[row, chosen], _MOST_REACH), reach[row, chosen])
            width = np.nan_to_num(rows[at, 2 * value, chosen] - rows[at, 2 * value + 1, chosen]) / region.scale[chosen]
            # Past success the margin counts no more, and the distance alone pulls back.
            margin = np.maximum(loss, 0.0)
            slope = np.divide(margin[:, 0:-1:2] - margin[:, 1:-1:2], width, out=np.zeros_like(width), where=width > 0)
            slope = weight[live][:, None] * slope + 2.0 * shift[row, chosen]
            mean[row, chosen] = _FAST * mean[row, chosen] + (1 - _FAST) * slope
            square[row, chosen] = _SLOW * square[row, chosen] + (1 - _SLOW) * slope**2
            steps[row, chosen] += 1
            t = steps[row, chosen]
            pull = mean[row, chosen] / (1 - _FAST**t)
            size = np.sqrt(square[row, chosen] / (1 - _SLOW**t))
            shift[row, chosen] -= self.rate * pull / (size + 1e-8)

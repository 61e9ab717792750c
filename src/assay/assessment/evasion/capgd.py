"""CAPGD: gradients of a differentiable model on a table, each step repaired to what the contract allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import shorten
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.white_box import WhiteBox

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_ASKS = 2
_SHORTEST = 1e-3
_POWERS = (1.0, 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class CAPGD(
    EvasionAttack, name="capgd", techniques=("AML.T0015", "AML.T0043.000"), mitigations=("AML.M0003", "AML.M0004")
):
    """Descend along the gradient of the margin, with momentum, repairing every row before it is asked about.

    After Simonetto, Ghamizi & Cordy 2024 (CAPGD, an adaptive projected gradient with repair). The walk goes on from rows
    before repair, so that integers and categories move when many small steps have added up; categories without
    order get a random other code now and then, since their codes have no slope. Steps halve where the loss has
    stopped falling, and the walk is taken up from its best row; they double where it falls each time. Directions take
    turns between the gradient, its root and its sign, since columns of very different scales hide one another.
    """

    max_queries: int = setting(400, Within(20, None), "Hard budget of rows for each sample, gradients included.")
    norm: str = setting("l2", OneOf(("l2", "linf", "l1", "cost", "l0")), "Distance that is made small.")
    step: float = setting(0.5, Within(0, None, open_low=True), "Length of the first step, in scaled units.")
    momentum: float = setting(0.75, Within(0, 1, open_high=True), "Share of the last direction in the next.")
    check: int = setting(8, Within(2, None), "Steps after which their length is looked at.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:  # noqa: ARG002
        """Step, repair and ask, until success or the budget's end, then bring what is found nearer."""
        white, n, found = oracle.white_box(), len(oracle.x0), live
        oracle.reserve = min(self.max_queries // 4, 20 + 2 * int(oracle.region.mutable.sum()))
        free, fixed, top = (oracle.x0.copy() for _ in range(3))
        way, best = np.zeros_like(free), np.full(n, np.inf)
        length, falls, turn = np.full(n, self.step), np.zeros(n, dtype=np.intp), 0
        while len(live := live[np.isinf(oracle.distance[live]) & (oracle.left[live] >= _ASKS)]):
            margin, slope = _slope(oracle, white, fixed[live], live)
            better = live[margin < best[live]]
            falls[better] += 1
            top[better], best[live] = fixed[better], np.minimum(margin, best[live])
            power = _POWERS[turn // self.check % len(_POWERS)]
            way[live] = self.momentum * way[live] + (1 - self.momentum) * self._direction(oracle, slope, power)
            free[live], fixed[live] = self._stepped(oracle, free[live], way[live], length[live], live, generator)
            oracle.wrong(fixed[live], live)
            turn += 1
            if turn % self.check:
                continue
            often, seldom = falls[live] >= self.check - 1, falls[live] < 0.5 * self.check
            length[live] *= np.where(often, 2.0, np.where(seldom, 0.5, 1.0))
            back = live[seldom]
            free[back], fixed[back], way[back] = top[back], top[back], 0.0
            falls[live] = 0
            self._restart(oracle, live[length[live] < _SHORTEST * self.step], free, fixed, best, length, generator)
        oracle.reserve = 0
        shorten(oracle, found)

    def _direction(self, oracle: Oracle, slope: Array, power: float) -> Array:
        """Return a step of length one that lowers the margin, (k, d), in scaled units: the slope to a power by value."""
        scaled: Array = -np.nan_to_num(slope) * oracle.region.scale * (oracle.region.mutable & ~oracle.region.category)
        if self.norm in ("l1", "l0", "cost"):
            # One value at a time would be the steepest in L1; the largest few share the step.
            cut = np.quantile(np.abs(scaled), 0.75, axis=1, keepdims=True)
            scaled = np.where(np.abs(scaled) >= cut, scaled, 0.0)
        power = 0.0 if self.norm == "linf" else power
        scaled = np.sign(scaled) * np.where(scaled != 0, np.abs(scaled), 1.0) ** power
        scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
        return scaled

    def _stepped(
        self, oracle: Oracle, free: Array, way: Array, length: Array, live: Index, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return the rows after a step, within the ranges, before and after repair."""
        region, start = oracle.region, oracle.x0[live]
        low, high = region.low(start), region.high(start)
        moved = np.clip(free + way * length[:, None] * region.scale, low, high)
        words = region.category & region.mutable & (generator.random(moved.shape) < 0.1)
        codes = np.floor(region.base_low + generator.random(moved.shape) * (region.base_high - region.base_low + 1))
        moved = np.where(words, codes, moved)
        return moved, region.project(moved, start)

    def _restart(
        self, oracle: Oracle, rest: Index, free: Array, fixed: Array, best: Array, length: Array,
        generator: np.random.Generator,
    ) -> None:  # fmt: skip
        """Set the samples ``rest`` (k,) out anew, from a random row of the region."""
        if len(rest):
            fixed[rest] = free[rest] = oracle.region.sample(oracle.x0[rest], generator, spread=3.0)
            best[rest], length[rest] = np.inf, self.step


def _slope(oracle: Oracle, white: WhiteBox, rows: Array, live: Index) -> tuple[Array, Array]:
    """Return the margin in logits, (k,), below 0 for success, and its gradient by rows (k, d)."""
    k = np.arange(len(rows))
    chosen = oracle.y[live] if oracle.targets is None else oracle.targets[live]
    sign = 1.0 if oracle.targets is None else -1.0
    margin = np.zeros(len(rows))

    def weigh(logits: Array) -> Array:
        answers = white.array(logits).copy()
        mine = answers[k, chosen].copy()
        answers[k, chosen] = -np.inf
        other = answers.argmax(axis=1)
        margin[:] = sign * (mine - answers[k, other])
        pull = np.zeros_like(answers)
        pull[k, chosen], pull[k, other] = sign, -sign
        made: Array = white.tensor(pull)
        return made

    _, slope = oracle.pull(white, white.tensor(rows), live, weigh)
    return margin, white.array(slope)

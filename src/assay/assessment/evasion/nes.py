"""NES: the slope of the model's answer, estimated from random probes, followed inside a ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.odds import log_margins, log_margins_around
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_FEWEST = 4


@dataclass(frozen=True, slots=True)
class NES(EvasionAttack, name="nes", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")):
    """Descend along the slope of the log margin, estimated from pairs of opposite Gaussian probes.

    Ilyas, Engstrom, Athalye & Lin 2018 (natural evolution strategies). Probes are those really made after projection, so
    that values on a grid and bounds take part; steps are halved where they do not help.
    """

    max_queries: int = setting(2000, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("linf", "l2")), "Norm of the ball that is searched, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    pairs: int = setting(25, Within(2, None), "Pairs of probes of one estimate.")
    spread: float = setting(0.3, Within(0, None, open_low=True), "Deviation of a probe in each value, of the radius.")
    step: float = setting(0.5, Within(0, 1, open_low=True), "Length of the first step, of the radius.")
    momentum: float = setting(0.6, Within(0, 1, open_high=True), "Share of the last estimate in the next.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:  # noqa: ARG002
        """Estimate, step, and halve the step where the loss did not fall; until success or the budget's end."""
        n, d = oracle.x0.shape
        here, loss = oracle.x0.copy(), np.full(n, np.inf)
        slope, length = np.zeros((n, d)), np.full(n, self.step)
        live = oracle.unbroken(live)
        while len(live):
            new = self._slope(oracle, here[live], live, generator)
            slope[live] = self.momentum * slope[live] + (1.0 - self.momentum) * new
            live = oracle.unbroken(live)
            if not len(live):
                return
            rows = self._stepped(oracle, here[live], slope[live], length[live], live)
            new_loss = log_margins(oracle, rows, live)
            better = new_loss < loss[live]
            loss[live[better]], here[live[better]] = new_loss[better], rows[better]
            # After a fall of little worth the step is as likely too long as the estimate is bad.
            length[live] = np.where(better, np.minimum(1.2 * length[live], 1.0), np.maximum(0.5 * length[live], 0.02))
            live = oracle.unbroken(live)

    def _slope(self, oracle: Oracle, base: Array, live: Index, generator: np.random.Generator) -> Array:
        """Return the estimated slope at ``base`` (k, d) in scaled units, of unit length in the norm's mean."""
        pairs = min(self.pairs, max(1, (int(oracle.left[live].min()) - 1) // 2))
        region, d = oracle.region, base.shape[1]
        noise = generator.standard_normal((pairs, d)) * region.mutable
        noise = np.concatenate([noise, -noise])
        reach = np.maximum(self.spread * self.radius, 0.75 * region.step / region.scale)
        rows = region.project_around(base[:, None, :] + noise * (reach * region.scale), oracle.x0[live])
        if pairs * 2 > int(oracle.left[live].min()):
            rows = rows[:, : max(1, int(oracle.left[live].min()))]
        loss = log_margins_around(oracle, rows, live)
        loss -= loss.mean(axis=1, keepdims=True)
        made = np.nan_to_num(rows - base[:, None, :]) / (reach * region.scale)
        total: Array = np.matmul(loss[:, None, :], made)[:, 0, :]
        total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return total

    def _stepped(self, oracle: Oracle, base: Array, slope: Array, length: Array, live: Index) -> Array:
        """Return rows after a step of ``length`` (k,) of the radius against the slope, inside ball and region."""
        region, start = oracle.region, oracle.x0[live]
        unit = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12)
        way = np.sign(slope) if self.norm == "linf" else slope / unit
        shift = np.nan_to_num(base - start) / region.scale - way * length[:, None] * self.radius
        if self.norm == "linf":
            shift = np.clip(shift, -self.radius, self.radius)
        else:
            far = np.linalg.norm(shift, axis=1, keepdims=True)
            shift *= np.minimum(1.0, self.radius / np.maximum(far, 1e-12))
        return region.project(start + shift * region.scale, start)

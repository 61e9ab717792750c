"""Boundary: a random walk along the decision boundary, knowing the predicted label only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import bisect, shorten, start
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_COARSE = 1.0 / 512.0
_LEAST, _MOST = 1e-3, 1.0


@dataclass(frozen=True, slots=True)
class Boundary(
    EvasionAttack, name="boundary", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Step sideways on the sphere around the sample, then towards it, as far as the row stays wrong.

    Brendel, Rauber & Bethge 2018 (Boundary Attack). Several sideways steps of each sample are asked at once, and both
    lengths follow how often they succeed. At the end the row is refined value by value, which the paper does not do.
    """

    max_queries: int = setting(2000, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2",)), "Distance that is made small, in scaled units.")
    candidates: int = setting(10, Within(1, None), "Sideways steps asked at once.")
    sideways: float = setting(0.2, Within(0, 1, open_low=True), "First sideways step, of the distance.")
    towards: float = setting(0.1, Within(0, 1, open_low=True), "First step towards the sample, of the distance.")
    tries: int = setting(300, Within(1, None), "Most random points tried to find a first wrong row.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Find a wrong row for each sample, then walk until the budget's end."""
        start(oracle, live, first, generator, self.tries)
        found = live = live[np.isfinite(oracle.distance[live])]
        bisect(oracle, live, _COARSE)
        oracle.reserve = min(self.max_queries // 5, 40 + 2 * int(oracle.region.mutable.sum()))
        aside, ahead = (np.full(len(oracle.x0), length) for length in (self.sideways, self.towards))
        here = oracle.best.copy()
        while len(live := live[(oracle.left[live] > self.candidates) & (oracle.distance[live] > 0)]):
            self._walk(oracle, live, here, aside, ahead, generator)
        oracle.reserve = 0
        shorten(oracle, found, precision=_COARSE)

    def _walk(
        self, oracle: Oracle, live: Index, here: Array, aside: Array, ahead: Array, generator: np.random.Generator
    ) -> None:
        """Take one step of each sample sideways, one towards it; ``here`` (n, d) are wrong rows, and stay so."""
        region, x0, k = oracle.region, oracle.x0[live], len(live)
        line = np.nan_to_num(here[live] - x0) / region.scale
        far = np.linalg.norm(line, axis=1)[:, None, None]
        noise = generator.standard_normal((k, self.candidates, line.shape[1])) * region.mutable
        unit = line[:, None, :] / np.maximum(far, 1e-12)
        noise -= (noise * unit).sum(axis=2, keepdims=True) * unit
        noise *= far * aside[live][:, None, None] / np.maximum(np.linalg.norm(noise, axis=2, keepdims=True), 1e-12)
        # Back onto the sphere: as far from the sample as before.
        turned = line[:, None, :] + noise
        turned *= far / np.maximum(np.linalg.norm(turned, axis=2, keepdims=True), 1e-12)
        rows = region.project_around(x0[:, None, :] + turned * region.scale, x0)
        wrong = oracle.wrong(rows.reshape(-1, rows.shape[2]), np.repeat(live, self.candidates))
        wrong = wrong.reshape(k, self.candidates)
        rate = wrong.mean(axis=1)
        aside[live] = np.clip(aside[live] * np.where(rate > 0.5, 1.1, np.where(rate < 0.2, 0.9, 1.0)), _LEAST, _MOST)
        hit = np.flatnonzero(wrong.any(axis=1))
        base = here[live].copy()
        base[hit] = rows[hit, wrong[hit].argmax(axis=1)]
        nearer = region.project(x0 + (1.0 - ahead[live])[:, None] * np.nan_to_num(base - x0), x0)
        arrived = oracle.wrong(nearer, live)
        ahead[live] = np.clip(ahead[live] * np.where(arrived, 1.15, 0.87), _LEAST, 0.5)
        here[live] = np.where(arrived[:, None], nearer, base)
        # A walk that projection or rounding has led away goes on from the nearest row known.
        lost = region.distance(here[live], x0, "l2") > 1.05 * oracle.distance[live]
        here[live[lost]] = oracle.best[live[lost]]

"""HopSkipJump: a decision-based attack, all samples at once, inside the feasible region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import bisect, start
from assay.assessment.evasion.planes import Planes
from assay.assessment.evasion.refine import refine
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_FINEST = 3e-5
_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class HopSkipJump(
    EvasionAttack, name="hopskipjump", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Walk along the decision boundary towards the sample, knowing the predicted label only.

    Chen, Jordan & Wainwright 2020 (HopSkipJumpAttack). Every step asks one batch for all samples that are
    still searching. Values on a grid (integers, categories) are moved by whole steps. Where the budget allows,
    the row is refined value by value (``assay.assessment.evasion.refine``), which the paper does not do. Images are mostly
    probed along waves of low frequency, as Li, Xu, Zhang, Yang & Li 2020 (QEBA, section 4.3) propose: what changes a
    network's answer is seldom as rough as white noise, and there are far fewer such directions.
    """

    max_queries: int = setting(2000, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2", "linf")), "Distance that is made small, in scaled units.")
    iterations: int = setting(40, Within(1, None), "Most steps along the boundary; the budget may end them first.")
    directions: int = setting(60, Within(2, None), "Directions of the first gradient estimate; grows with sqrt(step).")
    tries: int = setting(300, Within(1, None), "Most random points tried to find a first wrong row.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Find a wrong row for each sample, then shorten its distance step by step."""
        start(oracle, live, first, generator, self.tries)
        live = live[np.isfinite(oracle.distance[live])]
        found = live
        bisect(oracle, live, _precision(oracle))
        # Value by value pays where half of the budget goes round all values twice, as in a table; not for pixels.
        values = int(oracle.region.mutable.sum())
        polish = 4 * values <= self.max_queries
        if polish:
            refine(oracle, live)
            oracle.reserve = min(self.max_queries // 5, 110 + 2 * values)
        for step in range(1, self.iterations + 1):
            live = live[(oracle.left[live] >= 8) & (oracle.distance[live] > 0)]
            if not len(live):
                break
            self._walk(oracle, live, step, generator)
        oracle.reserve = 0
        if polish:
            refine(oracle, found)

    def _walk(self, oracle: Oracle, live: Index, step: int, generator: np.random.Generator) -> None:
        """Make one step of all live samples: estimate the slope, jump, and come back to the boundary."""
        wanted = int(self.directions * np.sqrt(step))
        slope = _slope(oracle, live, _directions(oracle, wanted, step, generator))
        length = oracle.distance[live] / np.sqrt(step)
        here, scale, going = oracle.best[live].copy(), oracle.region.scale, np.ones(len(live), dtype=bool)
        jumped = here.copy()
        for _ in range(12):
            going &= oracle.left[live] > 0
            if not going.any():
                break
            i = np.flatnonzero(going)
            target = here[i] + length[i, None] * slope[i] * scale
            target = oracle.region.project(target, oracle.x0[live[i]])
            hit = oracle.wrong(target, live[i])
            jumped[i[hit]] = target[hit]
            going[i[hit]] = False
            length[i] /= 2.0
        moved = (jumped != here).any(axis=1)
        bisect(oracle, live[moved], _precision(oracle), far=jumped[moved])


def _precision(oracle: Oracle) -> float:
    """Return the relative width at which a search along a line stops: 0.01 / d^1.5 (L2) or 0.01 / d^2 (Linf).

    Not below what single precision tells apart: for pixels finer searches cost queries and gain nothing.
    """
    d = max(1, int(oracle.region.mutable.sum()))
    return float(max(_FINEST, 0.01 / d ** (1.5 if oracle.norm == "l2" else 2.0)))


def _directions(oracle: Oracle, wanted: int, step: int, generator: np.random.Generator) -> Array:
    """Return random unit directions in which all samples are probed, (wanted, d), in scaled units.

    Of images, those of two steps in three are sums of waves of low frequency.
    """
    region, planes = oracle.region, Planes.of(oracle.shape)
    if planes is None or step % 3 == 0:
        noise = generator.standard_normal((wanted, region.width))
    else:
        noise = planes.smooth(wanted, generator)
    noise = noise * region.mutable
    unit: Array = noise / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
    return unit


def _slope(oracle: Oracle, live: Index, noise: Array) -> Array:
    """Return for each sample the unit direction in which the model's answer turns wrong, (k, d), in scaled units.

    The mean of the displacements ``noise`` (m, d), weighted by whether the model is wrong there, less the mean weight
    (the control variate of the paper's equation 16). Displacements are those really made after projection.
    """
    region, (wanted, d) = oracle.region, noise.shape
    slope = np.zeros((len(live), d))
    able = oracle.left[live] - 4 >= wanted
    _fill(oracle, live, np.flatnonzero(able), noise, slope)
    # Near the end of their budgets, samples are probed in as many directions as all of these can still pay for.
    short = np.flatnonzero(~able)
    if len(short):
        _fill(oracle, live, short, noise[: max(1, int(oracle.left[live[short]].min()) - 4)], slope)
    slope *= region.mutable
    if oracle.norm == "linf":
        signs: Array = np.sign(slope)
        return signs
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    unit: Array = np.divide(slope, length, out=np.zeros_like(slope), where=length > 0)
    return unit


def _fill(oracle: Oracle, live: Index, places: Index, noise: Array, slope: Array) -> None:
    """Put the estimates of the samples at ``places`` into ``slope``, in blocks that fit in memory."""
    share = max(1, _BLOCK_VALUES // noise.size)
    for i in range(0, len(places), share):
        block = places[i : i + share]
        slope[block] = _probed(oracle, live[block], noise)


def _probed(oracle: Oracle, live: Index, noise: Array) -> Array:
    """Return the estimate (k, d) from probes of each sample in the directions ``noise`` (m, d), not yet of unit length."""
    region, (m, d) = oracle.region, noise.shape
    moving = max(1, int(region.mutable.sum()))
    spread = moving if oracle.norm == "l2" else moving**1.5
    reach = oracle.distance[live] * _precision(oracle) * spread
    stretch = np.maximum(reach[:, None], 0.75 * region.step / region.scale * np.sqrt(moving))
    base = oracle.best[live]
    rows = base[:, None, :] + noise * (stretch * region.scale)[:, None, :]
    rows = region.project_around(rows, oracle.x0[live])
    hit = oracle.wrong_only(rows.reshape(-1, d), np.repeat(live, m)).reshape(len(live), m)
    weight = np.where(hit, 1.0, -1.0)
    mean = weight.mean(axis=1, keepdims=True)
    weight -= np.where(np.abs(mean) < 1.0, mean, 0.0)
    rows -= base[:, None, :]
    if np.isnan(base).any():
        rows = np.nan_to_num(rows, copy=False)
    total: Array = np.matmul(weight[:, None, :], rows)[:, 0, :] / (region.scale * np.maximum(stretch, 1e-12))
    return total

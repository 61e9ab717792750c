"""HopSkipJump: a decision-based attack, all samples at once, inside the feasible region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_POOL = 200
_BLOCK_VALUES = 20_000_000


@dataclass(frozen=True, slots=True)
class HopSkipJump(
    EvasionAttack, name="hopskipjump", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Walk along the decision boundary towards the sample, knowing the predicted label only.

    Chen, Jordan & Wainwright 2020 (HopSkipJumpAttack). Every step asks one batch for all samples that are
    still searching. Values on a grid (integers, categories) are moved by whole steps, and at the end each of
    them that need not have changed is put back.
    """

    max_queries: int = setting(2000, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2", "linf")), "Distance that is made small, in scaled units.")
    iterations: int = setting(40, Within(1, None), "Most steps along the boundary; the budget may end them first.")
    directions: int = setting(60, Within(2, None), "Directions of the first gradient estimate; grows with sqrt(step).")
    tries: int = setting(100, Within(1, None), "Most random points tried to find a first wrong row.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Find a wrong row for each sample, then shorten its distance step by step."""
        _start(oracle, live, first, generator, self.tries)
        live = live[np.isfinite(oracle.distance[live])]
        _bisect(oracle, live, _precision(oracle))
        for step in range(1, self.iterations + 1):
            live = live[(oracle.left[live] >= 8) & (oracle.distance[live] > 0)]
            if not len(live):
                break
            self._walk(oracle, live, step, generator)
        _restore(oracle, np.flatnonzero(np.isfinite(oracle.distance)))

    def _walk(self, oracle: Oracle, live: Index, step: int, generator: np.random.Generator) -> None:
        """Make one step of all live samples: estimate the slope, jump, and come back to the boundary."""
        wanted = int(self.directions * np.sqrt(step))
        slope = _slope(oracle, live, wanted, generator)
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
        _bisect(oracle, live[moved], _precision(oracle), far=jumped[moved])


def _precision(oracle: Oracle) -> float:
    """Return the relative width at which a search along a line stops: 0.01 / d^1.5 (L2) or 0.01 / d^2 (Linf)."""
    d = max(1, int(oracle.region.mutable.sum()))
    return float(max(1e-7, 0.01 / d ** (1.5 if oracle.norm == "l2" else 2.0)))


def _start(oracle: Oracle, live: Index, first: Index, generator: np.random.Generator, tries: int) -> None:
    """Find a wrong row for each sample: its nearest samples of another label, then random feasible rows."""
    pool = (
        np.arange(len(oracle.x0)) if len(oracle.x0) <= _POOL else generator.choice(len(oracle.x0), _POOL, replace=False)
    )
    near = _nearest_others(oracle, live, first, pool)
    for place in range(near.shape[1]):
        seek = (near[:, place] >= 0) & ~np.isfinite(oracle.distance[live]) & (oracle.left[live] > 0)
        owner = live[seek]
        if len(owner):
            oracle.wrong(oracle.region.project(oracle.x0[near[seek, place]], oracle.x0[owner]), owner)
    asked, count = 0, 1
    while asked < tries:
        owner = live[~np.isfinite(oracle.distance[live]) & (oracle.left[live] >= count)]
        if not len(owner):
            return
        owner = np.repeat(owner, count)
        oracle.wrong(oracle.region.sample(oracle.x0[owner], generator), owner)
        asked += count
        count = min(2 * count, max(1, tries - asked))


def _nearest_others(oracle: Oracle, live: Index, first: Index, pool: Index, *, most: int = 3) -> Index:
    """Return the nearest pool samples that the model gives another label, (len(live), most), -1 where there is none."""
    out = np.full((len(live), most), -1, dtype=np.intp)
    for row, sample in enumerate(live):
        others = pool[first[pool] != oracle.y[sample]]
        if len(others):
            far = oracle.region.distance(
                oracle.x0[others], np.broadcast_to(oracle.x0[sample], (len(others), oracle.x0.shape[1]))
            )
            chosen = others[np.argsort(far, kind="stable")[:most]]
            out[row, : len(chosen)] = chosen
    return out


def _bisect(oracle: Oracle, live: Index, precision: float, *, far: Array | None = None) -> None:
    """Shorten each sample's wrong row along the line to the sample, by halving, down to the given precision."""
    if not len(live):
        return
    start = oracle.x0[live]
    end = (oracle.best[live] if far is None else far).copy()
    line = np.nan_to_num(end - start)
    low, high = np.zeros(len(live)), np.ones(len(live))
    for _ in range(int(np.ceil(np.log2(1.0 / precision)))):
        i = np.flatnonzero(oracle.left[live] > 0)
        if not len(i):
            return
        middle = (low[i] + high[i]) / 2.0
        rows = oracle.region.project(start[i] + middle[:, None] * line[i], start[i])
        hit = oracle.wrong(rows, live[i])
        high[i] = np.where(hit, middle, high[i])
        low[i] = np.where(hit, low[i], middle)


def _slope(oracle: Oracle, live: Index, wanted: int, generator: np.random.Generator) -> Array:
    """Return for each sample the unit direction in which the model's answer turns wrong, (k, d), in scaled units.

    The mean of random displacements, weighted by whether the model is wrong there, less the mean weight
    (the control variate of the paper's equation 16). Displacements are those really made after projection.
    """
    region, d = oracle.region, oracle.x0.shape[1]
    share = max(1, _BLOCK_VALUES // max(1, wanted * d))
    parts = [_slope_block(oracle, live[i : i + share], wanted, generator) for i in range(0, len(live), share)]
    slope = np.concatenate(parts) * region.mutable
    if oracle.norm == "linf":
        signs: Array = np.sign(slope)
        return signs
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    unit: Array = np.divide(slope, length, out=np.zeros_like(slope), where=length > 0)
    return unit


def _slope_block(oracle: Oracle, live: Index, wanted: int, generator: np.random.Generator) -> Array:
    region, d = oracle.region, oracle.x0.shape[1]
    count = np.minimum(wanted, np.maximum(oracle.left[live] - 4, 1))
    owner_place = np.repeat(np.arange(len(live)), count)
    owner = live[owner_place]
    noise = generator.standard_normal((len(owner), d), dtype=np.float32).astype(np.float64) * region.mutable
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
    moving = max(1, int(region.mutable.sum()))
    reach = (
        oracle.distance[owner]
        * _precision(oracle)
        * (np.sqrt(moving) if oracle.norm == "l2" else moving)
        * np.sqrt(moving)
    )
    stretch = np.maximum(reach[:, None], 0.75 * region.step / region.scale * np.sqrt(moving))
    base = oracle.best[live][owner_place]
    rows = region.project(base + noise * stretch * region.scale, oracle.x0[owner])
    hit = oracle.wrong_only(rows, owner)
    moved = np.nan_to_num(rows - base) / region.scale / np.maximum(stretch, 1e-12)
    weight = np.where(hit, 1.0, -1.0)
    mean = np.bincount(owner_place, weights=weight, minlength=len(live)) / count
    centred = weight - np.where(np.abs(mean) < 1.0, mean, 0.0)[owner_place]
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    result: Array = np.add.reduceat(moved * centred[:, None], first, axis=0)
    return result


def _restore(oracle: Oracle, live: Index) -> None:
    """Put back, one by one, values on a grid that need not have changed for the model to be wrong."""
    for place in np.flatnonzero((oracle.region.step > 0) & oracle.region.mutable):
        changed = (oracle.best[live, place] != oracle.x0[live, place]) & (oracle.left[live] > 0)
        owner = live[changed]
        if not len(owner):
            continue
        rows = oracle.best[owner].copy()
        rows[:, place] = oracle.x0[owner, place]
        oracle.wrong(oracle.region.project(rows, oracle.x0[owner]), owner)

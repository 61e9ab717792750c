"""Genetic: many rows of each sample evolve towards success and nearness together, inside the feasible region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import known, shorten
from assay.assessment.evasion.odds import log_margins_around
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_BLOCK_VALUES = 2_000_000


@dataclass(frozen=True, slots=True)
class Genetic(
    EvasionAttack, name="genetic", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Cross and mutate feasible rows; those that no other beats both in success and in distance live on.

    After Simonetto, Dyrmishi, Ghamizi, Cordy & Le Traon 2022 (MoEvA2). Where they count violated constraints as an
    objective, every child is projected into the region before it is asked about, so that none is spent outside.
    Ranking by the number of rows that dominate one (Fonseca & Fleming 1993); all samples and children in one call.
    """

    max_queries: int = setting(2000, Within(60, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l1", OneOf(("l1", "cost", "l2", "linf", "l0")), "Distance that is made small.")
    population: int = setting(24, Within(4, 1000), "Rows of each sample.")
    patience: int = setting(20, Within(1, None), "Generations without a nearer success after which a sample is done.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Evolve in blocks of samples that fit in memory, then bring what is found nearer."""
        pool, _ = known(oracle, first, generator)
        oracle.reserve = min(self.max_queries // 4, 60 + 2 * int(oracle.region.mutable.sum()))
        share = max(1, _BLOCK_VALUES // (self.population * oracle.x0.shape[1]))
        for i in range(0, len(live), share):
            self._evolve(oracle, live[i : i + share], pool, generator)
        oracle.reserve = 0
        shorten(oracle, live)

    def _evolve(self, oracle: Oracle, live: Index, pool: Array, generator: np.random.Generator) -> None:
        """Let the rows of the samples ``live`` (k,) evolve until budget or patience ends."""
        p = min(self.population, int(oracle.left[live].min(initial=self.population)))
        if p < 2:
            return
        rows = _founders(oracle, live, pool, p, generator)
        goals = _goals(oracle, rows, live)
        rows, goals = _fittest(rows, goals, p, generator)
        idle, best = np.zeros(len(live), dtype=np.intp), oracle.distance[live]
        while True:
            on = np.flatnonzero((oracle.left[live] >= p) & (idle < self.patience) & (oracle.distance[live] > 0))
            if not len(on):
                return
            children = _children(oracle, rows[on], live[on], pool, generator)
            born = _goals(oracle, children, live[on])
            everyone, all_goals = (np.concatenate(pair, axis=1) for pair in ((rows[on], children), (goals[on], born)))
            # Until there is a success nearness only holds a sample back.
            all_goals[..., 1] *= np.isfinite(oracle.distance[live[on]])[:, None]
            rows[on], goals[on] = _fittest(everyone, all_goals, p, generator)
            nearer = oracle.distance[live[on]] < best[on]
            best[on] = oracle.distance[live[on]]
            idle[on] = np.where(nearer | np.isinf(best[on]), 0, idle[on] + 1)


def _founders(oracle: Oracle, live: Index, pool: Array, p: int, generator: np.random.Generator) -> Array:
    """Return the first rows of each sample, (k, p, d): mixtures with rows known and random ones, near and far."""
    k, d = len(live), oracle.x0.shape[1]
    x0 = oracle.x0[live][:, None, :]
    drawn = oracle.region.sample(np.repeat(oracle.x0[live], p, axis=0), generator).reshape(k, p, d)
    others = pool[generator.integers(0, len(pool), (k, p))]
    source = np.where(generator.random((k, p, 1)) < 0.5, drawn, others)
    share = np.linspace(0.05, 1.0, p)[None, :, None]
    return oracle.region.project_around(np.where(generator.random((k, p, d)) < share, source, x0), oracle.x0[live])


def _children(oracle: Oracle, rows: Array, live: Index, pool: Array, generator: np.random.Generator) -> Array:
    """Return one child a row, (k, p, d): two parents crossed, some values put back, some made anew."""
    region, (k, p, d) = oracle.region, rows.shape
    x0 = oracle.x0[live][:, None, :]
    # Rows stand in the order of their rank: the lower of two draws is the fitter parent.
    one, two = (generator.integers(0, p, (2, k, p)).min(axis=0) for _ in range(2))
    mother, father = (np.take_along_axis(rows, at[:, :, None], axis=1) for at in (one, two))
    child = np.where(generator.random((k, p, d)) < generator.choice((0.0, 0.1, 0.5), (k, p, 1)), father, mother)
    changed = ((child != x0) & ~np.isnan(x0)).sum(axis=2, keepdims=True)
    back = generator.random((k, p, d)) < generator.choice((0.0, 1.0, 3.0), (k, p, 1)) / np.maximum(changed, 1)
    child = np.where(back, x0, child)
    fresh = generator.random((k, p, d)) < generator.choice((0.0, 1.0, 2.0, 4.0), (k, p, 1)) / d
    reach = 10.0 ** generator.uniform(-2.0, 1.0, (k, p, 1))
    stepped = child + generator.standard_normal((k, p, d)) * np.maximum(reach * region.scale, region.step)
    # Towards the sample, by a random share of the way.
    nearer = x0 + (child - x0) * generator.random((k, p, d))
    known_values = pool[generator.integers(0, len(pool), (k, p, d)), np.arange(d)]
    kind = generator.integers(0, 4, (k, p, d))
    low, high = region.base_low, region.base_high
    spanned = np.where(np.isfinite(low) & np.isfinite(high), low + generator.random((k, p, d)) * (high - low), stepped)
    made = np.choose(kind, (stepped, known_values, np.where(region.category, spanned, nearer), spanned))
    return region.project_around(np.where(fresh & region.mutable, made, child), oracle.x0[live])


def _goals(oracle: Oracle, rows: Array, live: Index) -> Array:
    """Return what is made small, (k, p, 2): the log odds against success as far as they are above 0, and the distance."""
    k, p, d = rows.shape
    loss = log_margins_around(oracle, rows, live)
    far = oracle.region.distance(rows.reshape(k * p, d), np.repeat(oracle.x0[live], p, axis=0), oracle.norm)
    return np.stack([np.where(loss < 0, 0.0, np.maximum(loss, 1e-12)), far.reshape(k, p)], axis=2)


def _fittest(rows: Array, goals: Array, p: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return the p rows of each sample, and their goals, that fewest others beat in one goal while losing in none."""
    loss, far = goals[..., 0], goals[..., 1]
    no_worse = (loss[:, None, :] <= loss[:, :, None]) & (far[:, None, :] <= far[:, :, None])
    better = (loss[:, None, :] < loss[:, :, None]) | (far[:, None, :] < far[:, :, None])
    beaten = (no_worse & better).sum(axis=2).astype(np.float64)
    # Of equal rows one is enough: the later stand behind everything that is different.
    same = (loss[:, None, :] == loss[:, :, None]) & (far[:, None, :] == far[:, :, None])
    beaten += loss.shape[1] * np.tril(same, -1).any(axis=2)
    order = np.lexsort((generator.random(beaten.shape), beaten), axis=1)[:, :p, None]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(goals, order, axis=1)

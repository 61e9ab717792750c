"""Transfer: copy the model from some answers, attack the copy for nothing, and try what works on the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.line import known, shorten
from assay.assessment.extraction.surrogates import fit_best
from assay.core.clock import derive_seed
from assay.core.settings import OneOf, Within, setting
from assay.models.function import Function

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

# How far beyond the row that turns the copy the model is tried, as shares of the way there.
_BEYOND = (1.0, 1.1, 1.3, 1.7, 2.5, 4.0, 8.0)
_MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Transfer(
    EvasionAttack,
    name="transfer",
    techniques=("AML.T0015", "AML.T0043.002", "AML.T0005.001"),
    mitigations=("AML.M0002", "AML.M0003", "AML.M0004"),
):
    """Fit a surrogate to the model's answers around the samples, attack it with HopSkipJump, and verify on the model.

    As Papernot, McDaniel, Goodfellow, Jha, Celik & Swami 2017: each round asks about rows near the samples that are
    still unbroken, on the way to what turned the last copy. The surrogate is the best of those that thieves use
    (``assay.assessment.extraction.surrogates``). Only what the model itself gets wrong is a success.
    """

    max_queries: int = setting(300, Within(20, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2", "linf")), "Distance that is made small, in scaled units.")
    rounds: int = setting(3, Within(1, None), "Times that the surrogate is fitted.")
    asked: int = setting(40, Within(2, None), "Rows asked about for each sample and fit.")
    inner: int = setting(1000, Within(10, None), "Questions to the surrogate for each sample, which cost nothing.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Ask, fit, attack the copy and verify, as often as there are rounds and budget; then bring nearer."""
        found, seed = live, int(generator.integers(2**31))
        pool, _ = known(oracle, first, generator)
        goal = oracle.x0.copy()
        rows, answers = np.empty((0, oracle.x0.shape[1])), np.empty((0, oracle.classes))
        for turn in range(self.rounds):
            live = oracle.unbroken(live)
            count = min(self.asked, int(oracle.left[live].min(initial=self.asked)) - len(_BEYOND))
            if not len(live) or count < 2:
                break
            near = _around(oracle, live, goal, pool, count, generator)
            said = oracle.scores(near, np.repeat(live, count))
            rows, answers = (np.concatenate(pair)[-_MOST_ROWS:] for pair in ((rows, near), (answers, said)))
            live = oracle.unbroken(live)
            copy = fit_best(rows, answers, seed=derive_seed(seed, turn))
            self._attack(oracle, live, Function(copy, oracle.classes), goal, derive_seed(seed, "attack", turn))
            self._verify(oracle, live, goal)
        shorten(oracle, found)

    def _attack(self, oracle: Oracle, live: Index, copy: Function, goal: Array, seed: int) -> None:
        """Put into ``goal`` (n, d) the rows that turn the copy, where there are any."""
        if not len(live):
            return
        targets = None if oracle.targets is None else oracle.targets[live]
        attack = HopSkipJump(max_queries=self.inner, norm=self.norm)
        made = attack(copy, oracle.x0[live], oracle.y[live], oracle.region, targets=targets, seed=seed)
        goal[live[made.success]] = made.x_adv[made.success]

    def _verify(self, oracle: Oracle, live: Index, goal: Array) -> None:
        """Ask the model about rows on the way to ``goal`` and beyond, nearest first, until it is wrong."""
        for share in _BEYOND:
            live = oracle.unbroken(live)
            live = live[(goal[live] != oracle.x0[live]).any(axis=1)]
            if not len(live):
                return
            start = oracle.x0[live]
            oracle.wrong(oracle.region.project(start + share * np.nan_to_num(goal[live] - start), start), live)


def _around(oracle: Oracle, live: Index, goal: Array, pool: Array, count: int, generator: np.random.Generator) -> Array:
    """Return rows to ask about, (k * count, d): mixtures with rows known, random ones, and around the way to ``goal``."""
    region, d = oracle.region, oracle.x0.shape[1]
    start = np.repeat(oracle.x0[live], count, axis=0)
    far, others = region.sample(start, generator), pool[generator.integers(0, len(pool), len(start))]
    kind = np.tile(np.arange(count) % 3, len(live))[:, None]
    mixed = np.where(generator.random(start.shape) < generator.random((len(start), 1)), others, start)
    drawn = start + generator.random((len(start), 1)) * np.nan_to_num(far - start)
    way = start + 2.0 * generator.random((len(start), 1)) * np.nan_to_num(np.repeat(goal[live], count, axis=0) - start)
    way += generator.standard_normal((len(start), d)) * region.scale * 10.0 ** generator.uniform(-2, 0, (len(start), 1))
    return region.project(np.select([kind == 0, kind == 1], [mixed, drawn], way), start)

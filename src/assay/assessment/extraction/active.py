"""The active thief: ask next about the rows on which the copy so far is least sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.extraction.base import ANSWERS, SHOWN, ExtractionAttack, Purse
from assay.assessment.extraction.surrogates import fit_best, perceptron
from assay.assessment.extraction.thief import owned
from assay.assessment.rising import Rising
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.extraction.base import Copy
    from assay.contract.region import Region

    Array = NDArray[np.float64]

_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class ActiveThief(
    ExtractionAttack, name="active", techniques=("AML.T0024.002",), mitigations=("AML.M0002", "AML.M0004")
):
    """Fit a copy, ask about the rows nearest to its decision boundary, and fit again.

    Chandrasekaran, Chaudhuri, Giacomelli, Jha & Yan 2020, margin sampling; half of each round is drawn at random, so that
    no part of the data goes unasked (as Pal et al. 2020). Candidates are the pool's rows and mixtures of them.
    """

    budgets: tuple[int, ...] = setting((100, 300, 1000), Rising(1, 10_000_000, whole=True), "Numbers of rows asked.")
    answers: str = setting("probabilities", ANSWERS, "What the thief sees of each answer.")
    rounds: int = setting(5, Within(1, 100), "Times that a copy is fitted to choose rows by.")

    @property
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""
        return f"black box; has unlabelled rows of the model's distribution; {SHOWN[self.answers]}; asks round by round"

    def explore(self, purse: Purse, pool: Array, region: Region, generator: np.random.Generator) -> None:
        """Ask in rounds of equal size."""
        candidates = owned(pool, region, _CANDIDATES * purse.limit, generator)
        free = np.ones(len(candidates), dtype=bool)
        share = -(-purse.limit // (self.rounds + 1))
        while purse.left and free.any():
            left = np.flatnonzero(free)
            count = min(share, purse.left, len(left))
            chosen = left[:count]
            x, seen = purse.transcript()
            if len(x) > 1:
                answers = np.sort(perceptron(x, seen, int(generator.integers(2**31)))(candidates[left]), axis=1)
                near = left[np.argsort(answers[:, -1] - answers[:, -2], kind="stable")[: count // 2]]
                rest = np.setdiff1d(left, near)
                chosen = np.concatenate([near, generator.permutation(rest)[: count - len(near)]])
            free[chosen] = False
            if len(purse.ask(candidates[chosen])) < count:
                return

    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:  # noqa: ARG002
        """Return the best of the models tried."""
        return fit_best(x, answers, seed=seed)

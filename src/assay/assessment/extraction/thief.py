"""Thief: ask about plausible rows, and fit the best of a few ordinary models to the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.extraction.base import ANSWERS, SHOWN, ExtractionAttack
from assay.assessment.extraction.surrogates import fit_best
from assay.assessment.rising import Rising
from assay.contract.draw import drawn
from assay.core.errors import DataError
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.extraction.base import Copy
    from assay.contract.region import Region

    Array = NDArray[np.float64]

_KNOWN = {
    "rows": "has unlabelled rows of the model's distribution and mixes more of them",
    "ranges": "has no rows and knows the contract's ranges only",
}


@dataclass(frozen=True, slots=True)
class Thief(ExtractionAttack, name="thief", techniques=("AML.T0024.002",), mitigations=("AML.M0002", "AML.M0004")):
    """Learn the model from its answers, by linear models, forests and boosted trees on the logits it gives.

    As Tramer, Zhang, Juels, Reiter & Ristenpart 2016 and Orekondy, Schiele & Fritz 2019 (Knockoff Nets, random
    strategy); of the models tried, that which answers rows set aside best is kept.
    """

    budgets: tuple[int, ...] = setting((100, 300, 1000), Rising(1, 10_000_000, whole=True), "Numbers of rows asked.")
    knowledge: str = setting("rows", OneOf(("rows", "ranges")), "What the thief has: unlabelled rows, or ranges only.")
    answers: str = setting("probabilities", ANSWERS, "What the thief sees of each answer.")
    spread: float = setting(10.0, Within(0, None, open_low=True), "Reach, in units of scale, where a range is open.")

    @property
    def title(self) -> str:
        """The name that measures carry."""
        known = f"{self.name}_ranges" if self.knowledge == "ranges" else self.name
        return known if self.answers == "probabilities" else f"{known}_{self.answers}"

    @property
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""
        return f"black box; {_KNOWN[self.knowledge]}; {SHOWN[self.answers]}; does not know the kind of model"

    def rows(self, pool: Array, region: Region, count: int, generator: np.random.Generator) -> Array:
        """Return the pool in random order and then mixtures of two of its rows; or rows drawn from the ranges."""
        if self.knowledge == "ranges":
            return drawn(region, count, self.spread, generator)
        return owned(pool, region, count, generator)

    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:  # noqa: ARG002
        """Return the best of the models tried, fitted on answers (q, c) to rows x (q, d)."""
        return fit_best(x, answers, seed=seed)


def owned(pool: Array, region: Region, count: int, generator: np.random.Generator) -> Array:
    """Return rows (count, d): the pool in random order, and then mixtures of two of its rows. Raises DataError for none."""
    if not len(pool):
        raise DataError("the thief has no rows to ask about", remedy="Give rows, or knowledge='ranges'")
    first = pool[generator.permutation(len(pool))[:count]]
    parents = generator.integers(0, len(pool), (2, count - len(first)))
    mixed = np.where(generator.random((parents.shape[1], pool.shape[1])) < 0.5, pool[parents[0]], pool[parents[1]])
    return np.concatenate([first, region.project(mixed, pool[parents[0]])])

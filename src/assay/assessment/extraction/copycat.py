"""Copycat: labels alone, on rows that are nothing like the model's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.extraction.base import ANSWERS, SHOWN, ExtractionAttack
from assay.assessment.extraction.surrogates import perceptron
from assay.assessment.rising import Rising
from assay.contract.draw import drawn
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.extraction.base import Copy
    from assay.contract.region import Region

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Copycat(ExtractionAttack, name="copycat", techniques=("AML.T0024.002",), mitigations=("AML.M0004",)):
    """Fit a network to the labels that the model gives to rows drawn from the contract's ranges.

    Correia-Silva, Berriel, Badue, de Souza & Oliveira-Santos 2018 (Copycat CNN), who ask about images of other domains.
    """

    budgets: tuple[int, ...] = setting((100, 300, 1000), Rising(1, 10_000_000, whole=True), "Numbers of rows asked.")
    answers: str = setting("labels", ANSWERS, "What the thief sees of each answer.")
    spread: float = setting(3.0, Within(0, None, open_low=True), "Reach, in units of scale, where a range is open.")

    @property
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""
        return f"black box; has no rows and knows the contract's ranges only; {SHOWN[self.answers]}"

    def rows(self, pool: Array, region: Region, count: int, generator: np.random.Generator) -> Array:  # noqa: ARG002
        """Return rows drawn from the ranges."""
        return drawn(region, count, self.spread, generator)

    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:  # noqa: ARG002
        """Return the network fitted to the labels."""
        return perceptron(x, answers, seed)

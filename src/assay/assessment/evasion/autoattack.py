"""AutoAttack: four attacks that fail for different reasons, each on what the others have left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.assessment.evasion.apgd_ce import APGDCE
from assay.assessment.evasion.apgd_t import APGDT
from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.fab_t import FABT
from assay.assessment.evasion.square import Square
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# Squares tried at once: the few samples that reach the last part leave a call mostly fixed cost.
_WAYS = 4


@dataclass(frozen=True, slots=True)
class AutoAttack(EvasionAttack, name="autoattack", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """APGD-CE, then APGD-T, FAB-T and Square, each on the samples that are still right.

    Croce & Hein 2020, the standard version; any number of classes. Square takes no gradients, so that masked ones do
    not mislead the whole; in L1, for which it is not defined here, the other three attack. A sample whose closest
    row lies within the radius is done and asks no more.
    """

    max_queries: int = setting(7200, Within(20, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm of the ball, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    steps: int = setting(100, Within(1, None), "Steps of each gradient attack, towards each class.")
    classes: int = setting(9, Within(1, None), "Other classes aimed at, the likeliest first.")
    square_queries: int = setting(5000, Within(10, None), "Queries of Square for each sample.")

    def parts(self) -> tuple[EvasionAttack, ...]:
        """Return the attacks in the order in which they are used."""
        aimed = 10 + (self.steps + 2) * self.classes
        gradients: tuple[EvasionAttack, ...] = (
            APGDCE(norm=self.norm, radius=self.radius, steps=self.steps, max_queries=self.steps + 4),
            APGDT(norm=self.norm, radius=self.radius, steps=self.steps, classes=self.classes, max_queries=aimed),
            FABT(norm=self.norm, radius=self.radius, steps=self.steps, classes=self.classes, max_queries=aimed),
        )
        if self.norm == "l1":
            return gradients
        return (*gradients, Square(norm=self.norm, radius=self.radius, max_queries=self.square_queries, ways=_WAYS))

    def search(
        self, oracle: Oracle, live: NDArray[np.intp], first: NDArray[np.intp], generator: np.random.Generator
    ) -> None:
        """Let each part search among the samples that the parts before it did not turn."""
        for part in self.parts():
            left = oracle.unbroken(live)
            if not len(left):
                return
            with oracle.share(part.max_queries):
                part.search(oracle, left, first, generator)

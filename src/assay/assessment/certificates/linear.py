"""Certified radii of networks by linear relaxation: tighter than intervals, at the price of a pass back a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.base import Bounds, Certificate
from assay.assessment.certificates.interval import ASSUMPTIONS, radii
from assay.assessment.certificates.networks import read_network
from assay.assessment.certificates.relaxation import linear_margins
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Linear(Certificate, name="linear", mitigations=("AML.M0003",)):
    """Radius within which lines around all activations keep the answer, by bisection. Zhang et al. 2018 (CROWN)."""

    norm: str = setting("linf", OneOf(("linf", "l2", "l1")), "Norm of the radii, in scaled units.")
    rounds: int = setting(12, Within(1, 60), "Bisections; each halves what is left undecided.")

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the radii rest on."""
        return ASSUMPTIONS

    def bound(
        self, predictor: Predictor, x0: Array, y: Labels, region: Region, generator: np.random.Generator,
        shape: tuple[int, ...],
    ) -> Bounds:  # fmt: skip
        """Return the largest radius of each row at which all margins were shown to be positive."""
        del generator
        return radii(linear_margins, read_network(predictor, shape), x0, y, region, self.norm, self.rounds)

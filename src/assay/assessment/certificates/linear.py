"""Certified radii of networks by linear relaxation: tighter than intervals, at the price of a pass back a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.network_radii import NetworkCertificate
from assay.assessment.certificates.relaxation import linear_margins
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.ball import Ball
    from assay.assessment.certificates.networks import Network

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear(NetworkCertificate, name="linear", mitigations=("AML.M0003",)):
    """Radius within which lines around all activations keep the answer, by bisection. Zhang et al. 2018 (CROWN)."""

    norm: str = setting("linf", OneOf(("linf", "l2", "l1")), "Norm of the radii, in scaled units.")
    rounds: int = setting(12, Within(1, 60), "Bisections; each halves what is left undecided.")

    def margins(self, network: Network, ball: Ball, spec: Array) -> Array:
        """Return lower bounds (m,) of ``spec @ logits`` over the ball; spec (m, classes)."""
        return linear_margins(network, ball, spec)

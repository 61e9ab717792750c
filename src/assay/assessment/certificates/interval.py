"""Certified radii of networks by interval bound propagation: quick, and loose unless the network was trained for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.network_radii import NetworkCertificate
from assay.assessment.certificates.relaxation import interval_margins
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.ball import Ball
    from assay.assessment.certificates.networks import Network

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval(NetworkCertificate, name="interval", mitigations=("AML.M0003",)):
    """Radius within which intervals of all layers keep the answer, by bisection. Gowal et al. 2018 (IBP)."""

    norm: str = setting("linf", OneOf(("linf", "l2", "l1")), "Norm of the radii, in scaled units.")
    rounds: int = setting(14, Within(1, 60), "Bisections; each halves what is left undecided.")

    def margins(self, network: Network, ball: Ball, spec: Array) -> Array:
        """Return lower bounds (m,) of ``spec @ logits`` over the ball; spec (m, classes)."""
        return interval_margins(network, ball, spec)

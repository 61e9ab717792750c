"""What certificates of networks share: from margins over a ball to the largest ball on which they stay positive."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.ball import Ball
from assay.assessment.certificates.base import Bounds, Certificate
from assay.assessment.certificates.networks import Network, read_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

Margins = Callable[[Network, Ball, "Array"], "Array"]
_FARTHEST = 1e6

ASSUMPTIONS = (
    "of the network run in its own precision with sums in any order; roundings are counted, in its layers and in the bounds",
    "not of reduced precision (TF32, bfloat16) or of a quantised copy",
)


class NetworkCertificate(Certificate):
    """Radius within which a bound on every margin keeps the answer, by bisection. Authors write ``margins``."""

    __slots__ = ()
    rounds: int

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the radii rest on."""
        return ASSUMPTIONS

    @abstractmethod
    def margins(self, network: Network, ball: Ball, spec: Array) -> Array:
        """Return lower bounds (m,) of ``spec @ logits`` over the ball; spec (m, classes)."""

    def bound(
        self, predictor: Predictor, x0: Array, y: Labels, region: Region, generator: np.random.Generator,
        shape: tuple[int, ...],
    ) -> Bounds:  # fmt: skip
        """Return the largest radius of each row at which all margins were shown to be positive."""
        del generator
        return radii(self.margins, read_network(predictor, shape), x0, y, region, self.norm, self.rounds)


def radii(margins: Margins, network: Network, x0: Array, y: Labels, region: Region, norm: str, rounds: int) -> Bounds:
    """Return bounds whose radii were each checked by ``margins``; nothing is concluded from one radius for another."""
    classes = np.eye(network.classes)
    lower = np.zeros(len(x0))
    reach = 0.01
    for i, row in enumerate(x0):
        spec = np.delete(classes[y[i]] - classes, y[i], axis=0)

        def holds(radius: float, row: Array = row, spec: Array = spec) -> bool:
            return bool((margins(network, Ball.of(row, region, norm, radius), spec) > 0).all())

        lower[i] = _largest(holds, reach, rounds)
        # The next row starts from where this one ended.
        reach = min(max(lower[i], 1e-6), _FARTHEST / 4)
    return Bounds.of(lower, x0)


def _largest(holds: Callable[[float], bool], guess: float, rounds: int) -> float:
    """Return the largest radius found to hold; 0.0 when none does."""
    good, bad = 0.0, guess
    while holds(bad):
        good, bad = bad, 2.0 * bad
        if bad > _FARTHEST:
            return good
    for _ in range(rounds):
        middle = (good + bad) / 2.0
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good

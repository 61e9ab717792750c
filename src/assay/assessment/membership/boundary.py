"""The boundary attack on membership: with labels alone, rows far from the decision boundary were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BoundaryDistance(MembershipAttack, name="boundary"):
    """Score a row by the distance to the nearest row of another label that an evasion attack found; 0 where it is wrong.

    Choquette-Choo et al. 2021; Li & Zhang 2021. Rows that were never turned count as farther than all others.
    """

    __slots__ = ()
    threat_model: ClassVar[str] = (
        "black box with labels only; knows the true label; asks as many questions as the evasion attack spends a row"
    )

    def score(self, exposure: Exposure) -> NDArray[np.float64]:
        """Return the distance of each row, (n,). Raises DataError when distances were not measured."""
        far = exposure.distance
        if far is None:
            raise DataError("the boundary attack needs distances", remedy="Run an evasion attack on the audited rows")
        finite = far[np.isfinite(far)]
        top = 2.0 * float(finite.max()) if finite.size else 1.0
        wrong = exposure.answers.argmax(axis=1) != exposure.labels
        score: NDArray[np.float64] = np.where(wrong, 0.0, np.where(np.isfinite(far), far, top))
        return score

"""The confidence attack: rows that the model is sure of were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from assay.assessment.membership.base import Exposure, MembershipAttack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Confidence(MembershipAttack, name="confidence"):
    """Score a row by the probability of its true class. Yeom et al. 2018, as a global threshold."""

    __slots__ = ()
    threat_model: ClassVar[str] = "black box with probabilities; knows the true label; no other data"

    def score(self, exposure: Exposure) -> NDArray[np.float64]:
        """Return the true class's probability of each row, (n,)."""
        return exposure.confidence()

"""The modified entropy attack: entropy that knows the true label, so that a sure mistake is no sign of membership."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ModifiedEntropy(MembershipAttack, name="modified_entropy"):
    """Score a row by the negative modified entropy of the answer. Song & Mittal 2021, equation 8."""

    __slots__ = ()
    threat_model: ClassVar[str] = "black box with probabilities; knows the true label; no other data"

    def score(self, exposure: Exposure) -> NDArray[np.float64]:
        """Return (1 - p_y) log p_y + sum over others of p log(1 - p), (n,), in nats."""
        shares = np.clip(exposure.answers, 1e-12, 1.0 - 1e-12)
        true = shares[np.arange(len(shares)), exposure.labels]
        others = (shares * np.log1p(-shares)).sum(axis=1) - true * np.log1p(-true)
        total: NDArray[np.float64] = (1.0 - true) * np.log(true) + others
        return total

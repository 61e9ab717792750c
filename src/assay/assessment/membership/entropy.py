"""The entropy attack: rows on which the model's answer is far from even were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Entropy(MembershipAttack, name="entropy"):
    """Score a row by the negative entropy of the answer; the true label is not needed. Salem et al. 2019."""

    __slots__ = ()
    threat_model: ClassVar[str] = "black box with probabilities; does not know the true label; no other data"

    def score(self, exposure: Exposure) -> NDArray[np.float64]:
        """Return the sum of p log p of each row, (n,), in nats."""
        shares = np.clip(exposure.answers, 1e-12, 1.0)
        total: NDArray[np.float64] = (shares * np.log(shares)).sum(axis=1)
        return total

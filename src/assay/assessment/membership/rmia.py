"""RMIA: the robust membership inference attack, by likelihood ratios against a few reference models."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack, need_shadows
from assay.core.clock import stream
from assay.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TINY = 1e-12


class RMIA(MembershipAttack, name="rmia"):
    """Score a row by how much more likely the target finds it than reference models do, ranked among all rows.

    Zarifzadeh, Liu & Shokri 2024, online form with gamma = 1, for which the share of population rows
    that a row dominates orders rows as the ratio itself does; so the ratio is the score.
    """

    __slots__ = ()
    threat_model: ClassVar[str] = (
        "black box with probabilities; knows the true label and the recipe, and has rows of the same distribution, "
        "the audited ones among them, to fit reference models on"
    )

    def score(self, exposure: Exposure) -> NDArray[np.float64]:
        """Return the likelihood ratio of each row, (n,). Raises DataError for a row that all or no shadows saw."""
        seen = exposure.seen
        need_shadows(exposure, "RMIA", inside=True)
        n_in = seen.sum(axis=0)
        shares = exposure.shadow_confidence()
        inside = (shares * seen).sum(axis=0) / n_in
        outside = (shares * ~seen).sum(axis=0) / (len(seen) - n_in)
        ratio: NDArray[np.float64] = exposure.confidence() / np.maximum((inside + outside) / 2.0, _TINY)
        return ratio


def shadow_rows(n: int, shadows: int, *, seed: int) -> NDArray[np.bool_]:
    """Return which of n rows each shadow is fitted on, (shadows, n): random halves in complementary pairs.

    So every row has as many models with it as without it. Raises DataError for an odd or zero number.
    """
    if shadows < 2 or shadows % 2:
        raise DataError(f"{shadows} shadow models do not make pairs", remedy="Use an even number")
    rng = stream(seed, "membership", "shadows")
    halves = np.zeros((shadows // 2, n), dtype=bool)
    for half in halves:
        half[rng.permutation(n)[: n // 2]] = True
    return np.stack([halves, ~halves], axis=1).reshape(shadows, n)

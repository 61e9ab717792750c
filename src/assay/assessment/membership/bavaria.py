"""The Bayesian likelihood-ratio attack: row by row as LiRA, with what few shadow models cannot tell taken from all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack, need_shadows
from assay.assessment.membership.scores import floor, log_odds, moments
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bavaria(MembershipAttack, name="bavaria"):
    """Score a row by the ratio of two Student densities, posteriors under a normal-inverse-gamma prior fitted to all rows.

    The form of BaVarIA (2026) for few shadow models: the prior of the variance is that of all rows, and the prior of
    the mean with the row is its mean without it plus the shift that membership makes on average. Murphy 2007,
    section 3, for the posterior.
    """

    threat_model: ClassVar[str] = (
        "black box with probabilities; knows the true label and the recipe, and has rows of the same distribution, "
        "the audited ones among them, to fit reference models on"
    )
    strength: float = setting(
        4.0, Within(0.0, None, open_low=True), "Shadow models that the prior of a variance is worth."
    )
    anchor: float = setting(1.0, Within(0.0, None, open_low=True), "Shadow models that the prior of a mean is worth.")

    def score(self, exposure: Exposure) -> Array:
        """Return the log ratio of posterior predictive densities of each row, (n,)."""
        need_shadows(exposure, "Bavaria", inside=True)
        shares = exposure.shadow_confidence()
        least = floor(np.concatenate([exposure.confidence(), shares.ravel()]))
        here, there = log_odds(exposure.confidence(), least), log_odds(shares, least)
        without, inside = moments(there, ~exposure.seen), moments(there, exposure.seen)
        centre = without[1]
        shift = float((inside[1] - centre).mean())
        return self._density(here, inside, centre + shift) - self._density(here, without, centre)

    def _density(self, x: Array, seen: tuple[Array, Array, Array], centre: Array) -> Array:
        """Return the log density (n,) of the posterior predictive at x, up to a constant that all rows share."""
        from scipy.special import gammaln

        count, mean, squares = seen
        pooled = max(float(squares.sum() / max(1.0, float((count - 1.0).sum()))), 1e-6)
        weight = self.anchor + count
        middle = (self.anchor * centre + count * mean) / weight
        shape = 0.5 * (self.strength + count)
        rate = 0.5 * (self.strength * pooled + squares + self.anchor * count * (mean - centre) ** 2 / weight)
        spread = rate * (weight + 1.0) / (weight * shape)
        value: Array = (
            gammaln(shape + 0.5) - gammaln(shape) - 0.5 * np.log(shape * spread)
            - (shape + 0.5) * np.log1p((x - middle) ** 2 / (2.0 * shape * spread))
        )  # fmt: skip
        return value

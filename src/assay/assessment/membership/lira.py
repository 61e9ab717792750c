"""LiRA: the likelihood-ratio attack, with a normal distribution of log-odds for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack, need_shadows
from assay.assessment.membership.scores import floor, log_odds, moments
from assay.core.settings import OneOf, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_NARROWEST = 1e-3


@dataclass(frozen=True, slots=True)
class LiRA(MembershipAttack, name="lira"):
    """Score a row by how much better its log-odds fit models that saw it than models that did not.

    Carlini et al. 2022, section V; log-odds as in its equation 4. With few shadow models one variance is shared by all
    rows (``variance="shared"``, section VI-B); with many each row has its own.
    """

    threat_model: ClassVar[str] = (
        "black box with probabilities; knows the true label and the recipe, and has rows of the same distribution, "
        "the audited ones among them (offline: not), to fit reference models on"
    )
    form: str = setting("online", OneOf(("online", "offline")), "Whether models that saw the row are used as well.")
    variance: str = setting("shared", OneOf(("shared", "own")), "One variance for all rows, or one for each.")

    def score(self, exposure: Exposure) -> Array:
        """Return the log likelihood ratio (online) or the normal score (offline) of each row, (n,)."""
        need_shadows(exposure, "LiRA", inside=self.form == "online")
        shares = exposure.shadow_confidence()
        least = floor(np.concatenate([exposure.confidence(), shares.ravel()]))
        here, there = log_odds(exposure.confidence(), least), log_odds(shares, least)
        out_mean, out_spread = self._fit(there, ~exposure.seen)
        if self.form == "offline":
            return (here - out_mean) / out_spread
        in_mean, in_spread = self._fit(there, exposure.seen)
        return _log_normal(here, in_mean, in_spread) - _log_normal(here, out_mean, out_spread)

    def _fit(self, values: Array, where: NDArray[np.bool_]) -> tuple[Array, Array]:
        count, mean, squares = moments(values, where)
        if self.variance == "shared":
            spread = np.full_like(mean, np.sqrt(squares.sum() / max(1.0, float((count - 1.0).sum()))))
        else:
            spread = np.sqrt(squares / np.maximum(count - 1.0, 1.0))
        return mean, np.maximum(spread, _NARROWEST)


def _log_normal(x: Array, mean: Array, spread: Array) -> Array:
    value: Array = -0.5 * ((x - mean) / spread) ** 2 - np.log(spread)
    return value

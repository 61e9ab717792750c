"""The quantile attack: how sure the model is of a row, against how sure it is of unseen rows that look like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.assessment.membership.scores import floor, log_odds
from assay.core.clock import stream
from assay.core.errors import DataError
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LEAST_ROWS = 40


@dataclass(frozen=True, slots=True)
class Quantile(MembershipAttack, name="quantile"):
    """Score a row by how far its log-odds lie above what a regression on unseen rows expects there.

    Bertran et al. 2023, in the Gaussian form of section 4: one regression of the mean, one of the size of the
    residual. No shadow model is fitted. The unseen rows are the attacker's own (``Exposure.public``); each is judged by
    regressions that were not fitted on it.
    """

    threat_model: ClassVar[str] = (
        "black box with probabilities; knows the true label; owns rows of the same distribution that were not trained "
        "on; needs neither the recipe nor shadow models"
    )
    folds: int = setting(4, Within(2, 20), "Parts into which the attacker's rows are split.")

    def score(self, exposure: Exposure) -> Array:
        """Return the standardised residual of each row, (n,). Raises DataError without rows, or with too few public ones."""
        if exposure.rows is None or exposure.public is None:
            raise DataError("the quantile attack needs the rows and which of them are public", remedy="Give both")
        public = np.flatnonzero(exposure.public)
        if len(public) < max(_LEAST_ROWS, 2 * self.folds):
            raise DataError(f"{len(public)} public rows are too few for a regression", remedy=f"Give {_LEAST_ROWS}")
        odds = log_odds(exposure.confidence(), floor(exposure.answers))
        x = np.column_stack([exposure.rows.reshape(len(odds), -1), exposure.labels])
        chance = stream(0, "membership", "quantile")
        # Who is judged by which regression is drawn for all rows alike: nothing sets public rows apart.
        part = chance.permutation(len(odds)) % self.folds
        part[public] = chance.permutation(len(public)) % self.folds
        score = np.zeros(len(odds))
        for fold in range(self.folds):
            own, judged = public[part[public] != fold], part == fold
            score[judged] = _residual(x[own], odds[own], x[judged], odds[judged])
        return score


def _residual(x: Array, odds: Array, x_new: Array, odds_new: Array) -> Array:
    from sklearn.ensemble import HistGradientBoostingRegressor

    settings = {"max_iter": 60, "max_leaf_nodes": 8, "learning_rate": 0.1, "early_stopping": False, "random_state": 0}
    settings["min_samples_leaf"] = max(5, min(20, len(x) // 10))
    middle = HistGradientBoostingRegressor(**settings).fit(x, odds)
    gap = np.abs(odds - middle.predict(x))
    least = max(1e-3, 0.1 * float(gap.mean()))
    spread = HistGradientBoostingRegressor(**settings).fit(x, np.log(gap + least))
    result: Array = (odds_new - middle.predict(x_new)) / np.exp(spread.predict(x_new))
    return result

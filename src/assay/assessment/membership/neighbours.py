"""The neighbours attack: answers around a row beside those at it, weighed as the shadow models teach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack, need_shadows
from assay.assessment.membership.scores import floor, log_odds, moments
from assay.core.clock import stream
from assay.core.errors import DataError
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region

    Array = NDArray[np.float64]

ASKED = 8
_NOISE, _MIX = 0.1, 0.3
_LEAST_SHADOWS = 4


@dataclass(frozen=True, slots=True)
class Neighbours(MembershipAttack, name="neighbours"):
    """Score a row by a logistic regression over answers at and around it, learned from shadows in the target's place.

    What a model answers at a row depends on the row only if the model saw it, and always on the model's other rows and
    its own chance. The latter move its answers nearby as well, so that these tell how much of a surprise is the row's own
    doing. How far is learned: each shadow stands in for the target, the others are its references, and which rows it
    saw is known. Answers for several queries a row: Carlini et al. 2022, section VI.C; attack models that shadows teach:
    Shokri et al. 2017.
    """

    threat_model: ClassVar[str] = (
        f"black box with probabilities; asks about {2 * ASKED} more rows around each audited one; knows the true label and "
        "the recipe, and has rows of the same distribution, the audited ones among them, to fit reference models on"
    )
    strength: float = setting(1.0, Within(0.0, None, open_low=True), "Inverse strength of the regression's penalty.")

    def score(self, exposure: Exposure) -> Array:
        """Return the log-odds of membership of each row, (n,). Raises DataError without answers around the rows."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        around, taught = exposure.around, exposure.shadow_around
        if around is None or taught is None:
            raise DataError("the neighbours attack needs answers around each row", remedy="Ask about `rows_around`")
        need_shadows(exposure, "Neighbours", inside=True)
        seen = exposure.seen
        if len(seen) < _LEAST_SHADOWS:
            raise DataError(f"{len(seen)} shadow models are too few to learn from", remedy=f"Use {_LEAST_SHADOWS}")
        here, there = _views(exposure.confidence(), around), _views(exposure.shadow_confidence(), taught)
        least = floor(np.concatenate([here[0], there[:, 0].ravel()]))
        inside, outside = there * seen[:, None], there * ~seen[:, None]
        n_in, sum_in, sum_out = seen.sum(axis=0), inside.sum(axis=0), outside.sum(axis=0)
        n_out = len(seen) - n_in
        tables, answers = [], []
        for own, saw, mine, others in zip(there, seen, inside, outside, strict=True):
            # A row that only this shadow saw, or only this one did not, has no reference left.
            left = (n_in > saw) & (n_out > ~saw)
            means = (sum_in - mine) / np.maximum(n_in - saw, 1), (sum_out - others) / np.maximum(n_out - ~saw, 1)
            tables.append(_features(own, *means, least)[left])
            answers.append(saw[left])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.strength, max_iter=500))
        model.fit(np.concatenate(tables), np.concatenate(answers))
        score: Array = model.decision_function(_features(here, sum_in / n_in, sum_out / n_out, least))
        return score


def rows_around(x: Array, labels: NDArray[np.intp], region: Region, *, seed: int) -> Array:
    """Return valid rows around each row of x (n, ...), as (2, ASKED, n, ...).

    First with noise of a tenth of each value's spread, then three tenths of the way to other rows of the same label;
    an unordered category stays, or is the other row's three times in ten.
    """
    rows = x.reshape(len(x), -1)
    chance = stream(seed, "membership", "neighbours")
    free = np.ones(rows.shape[1], dtype=bool)
    anywhere = replace(region, up=free, down=free)
    known = ~np.isnan(rows)
    count, _, squares = moments(np.nan_to_num(rows), known)
    spread = _NOISE * np.sqrt(squares / np.maximum(count, 1.0)) * ~region.category
    found = np.empty((2, ASKED, *rows.shape))
    for i in range(ASKED):
        found[0, i] = rows + spread * chance.standard_normal(rows.shape)
        other = rows[_of_same_label(labels, chance)]
        moved = np.where(
            region.category, np.where(chance.random(rows.shape) < _MIX, other, rows), rows + _MIX * (other - rows)
        )
        found[1, i] = np.where(np.isnan(moved), rows, moved)
    every = anywhere.project_around(np.moveaxis(found.reshape(-1, *rows.shape), 0, 1), rows)
    return np.moveaxis(every, 1, 0).reshape(2, ASKED, *x.shape)


def _of_same_label(labels: NDArray[np.intp], chance: np.random.Generator) -> NDArray[np.intp]:
    """Return for each row the position of a row drawn from those of its label, (n,)."""
    drawn = np.empty(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        drawn[own] = chance.permutation(own)
    return drawn


def _views(at: Array, around: Array) -> Array:
    """Return the answers at a row (..., n) and their mean, highest and lowest of each kind around it, (..., 7, n)."""
    parts = [at[..., None, :], around.mean(axis=-2), around.max(axis=-2), around.min(axis=-2)]
    return np.concatenate(parts, axis=-2)


def _features(target: Array, inside: Array, outside: Array, least: float) -> Array:
    """Return what the regression sees of n rows, from views (v, n) of the target and of references with and without them."""
    at, low, high = target[0], outside[0], inside[0]
    ratio = np.log((at + least) / ((low + high) / 2.0 + least))
    surprise = (at - low) / np.sqrt(low * (1.0 - low) + least)
    odds = (log_odds(target, least), log_odds(outside, least), log_odds(inside[:1], least))
    return np.column_stack([*(row for block in odds for row in block), at, low, ratio, surprise])

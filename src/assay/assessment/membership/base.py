"""What every membership attack shares: from scores of members and non-members to measures with intervals."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from assay.core.discovery import Control
from assay.core.errors import DataError
from assay.core.measure import Measure
from assay.core.settings import check_settings
from assay.stats.intervals import auc_interval, clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RATES = (0.001, 0.01)


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """What the attacker works with. rows: members and non-members of one distribution, n in all.

    answers (n, classes): the target's probabilities; labels (n,): true classes; member (n,).
    shadows (k, n, classes): what reference models answer; seen (k, n): which rows each was fitted on.
    rows (n, d): the rows themselves; public (n,): which of them the attacker knows not to have been trained on;
    distance (n,): to the nearest row of another label, infinite where none was found.
    around (kinds, asked, n), shadow_around (k, kinds, asked, n): probability of the row's true class at rows around it.
    None: not known.
    """

    answers: Array
    labels: NDArray[np.intp]
    member: NDArray[np.bool_]
    shadows: Array = field(default_factory=lambda: np.empty((0, 0, 0)))
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), dtype=bool))
    rows: Array | None = None
    public: NDArray[np.bool_] | None = None
    distance: Array | None = None
    around: Array | None = None
    shadow_around: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.answers.shape[:1] != (n,) or self.member.shape != (n,):
            raise DataError("answers, labels and member must have one length")
        if not self.member.any() or self.member.all():
            raise DataError("membership needs members and others", remedy="Give training and test rows")
        if len(self.shadows) and (self.shadows.shape[1] != n or self.seen.shape != self.shadows.shape[:2]):
            raise DataError("shadow models must answer every row, and say which they were fitted on")
        if any(given is not None and len(given) != n for given in (self.rows, self.public, self.distance)):
            raise DataError("rows, public and distance must have the length of the labels")
        if self.around is not None and self.around.shape[-1:] != (n,):
            raise DataError("answers around rows must be there for every row")
        if self.shadow_around is not None and self.shadow_around.shape[::3] != (len(self.shadows), n):
            raise DataError("answers of shadows around rows must be there for every shadow and row")

    def part(
        self,
        rows: NDArray[np.intp],
        *,
        distance: Array | None = None,
        around: Array | None = None,
        shadow_around: Array | None = None,
    ) -> Exposure:
        """Return answers and shadows of some rows, (m,), with what else is known of these."""
        shadows, seen = self.shadows, self.seen
        if len(shadows):
            shadows, seen = shadows[:, rows], seen[:, rows]
        return Exposure(
            self.answers[rows], self.labels[rows], self.member[rows], shadows, seen,
            distance=distance, around=around, shadow_around=shadow_around,
        )  # fmt: skip

    def confidence(self) -> Array:
        """Return the probability that the target gives to the true class, (n,)."""
        return self.answers[np.arange(len(self.labels)), self.labels]

    def shadow_confidence(self) -> Array:
        """Return the probability that each shadow gives to the true class, (k, n)."""
        return self.shadows[:, np.arange(len(self.labels)), self.labels]


@dataclass(frozen=True, slots=True, eq=False)
class MembershipResult:
    """scores (n,): higher means more likely a member. fpr, tpr: the ROC curve, from (0, 0) to (1, 1)."""

    scores: Array
    fpr: Array
    tpr: Array
    measures: tuple[Measure, ...]


class MembershipAttack(Control, package="assay.assessment.membership", techniques=("AML.T0024.000",)):
    """An attack that scores how likely each row is to have been trained on. Authors write ``score``."""

    __slots__ = ()
    threat_model: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_settings(self)

    @final
    def __call__(self, exposure: Exposure, *, seed: int | None = None) -> MembershipResult:
        """Return scores, ROC curve and measures: AUC, and true positives at 0.1 % and 1 % false positives."""
        scores = self.score(exposure)
        inside, outside = scores[exposure.member], scores[~exposure.member]
        area, low, high = auc_interval(inside, outside)
        n = len(scores)
        common = {"threat_model": self.threat_model, "seed": seed}
        measures = [
            Measure(f"membership.auc@{self.name}", area, low, high, n, unit="auc", method="delong", **common)  # type: ignore[arg-type]
        ]
        for rate in RATES:
            hits = float(accused(inside, outside, rate).sum())
            low, high = share_found(hits, len(inside), len(outside), rate)
            name = f"membership.tpr@fpr{rate:g},{self.name}"
            measures.append(Measure(name, hits / len(inside), low, high, len(inside), **common))  # type: ignore[arg-type]
        fpr, tpr = _roc(inside, outside)
        return MembershipResult(scores, fpr, tpr, tuple(measures))

    @abstractmethod
    def score(self, exposure: Exposure) -> Array:
        """Return one score a row, (n,), higher for members."""


def need_shadows(exposure: Exposure, attack: str, *, inside: bool) -> None:
    """Raise DataError unless every row has shadow models without it and, when ``inside``, models with it."""
    seen = exposure.seen
    n_in = seen.sum(axis=0)
    if not len(seen) or (n_in == len(seen)).any() or (inside and (n_in == 0).any()):
        raise DataError(f"{attack} needs, for every row, shadow models with and without it", remedy="Use pairs")


def accused(scores: Array, outside: Array, rate: float) -> Array:
    """Return the chance with which each score is accused where ``rate`` of the non-members are, (n,).

    1 above a threshold and 0 below it; rows that are tied there are accused by lot, as many as the rate leaves.
    """
    level = np.sort(outside)[::-1][int(np.floor(rate * len(outside)))]
    left = rate * len(outside) - (outside > level).sum()
    share = left / max(1, (outside == level).sum())
    chance: Array = (scores > level) + share * (scores == level)
    return chance


def share_found(hits: float, members: int, others: int, rate: float) -> tuple[float, float]:
    """Return the interval of the share of members accused at a threshold which ``rate`` of so many others set.

    Clopper-Pearson's, its lower end less what the threshold may owe to chance: with few others the share of all others
    that would exceed it can be far above ``rate``, and guessing alone finds as many members. hits: members accused, as expected.
    """
    low, high = clopper_pearson(int(np.floor(hits)), members)[0], clopper_pearson(int(np.ceil(hits)), members)[1]
    owed = clopper_pearson(int(np.floor(rate * others)), others)[1] - rate
    return max(0.0, low - max(0.0, owed)), high


def _roc(inside: Array, outside: Array) -> tuple[Array, Array]:
    levels = np.unique(np.concatenate([inside, outside]))[::-1]
    tpr = 1.0 - np.searchsorted(np.sort(inside), levels, side="left") / len(inside)
    fpr = 1.0 - np.searchsorted(np.sort(outside), levels, side="left") / len(outside)
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])

"""The fix: try the cheap remedies against membership inference in order, measure each again, and show the trade."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.case import profile_of
from assay.assessment.curves import Curve, Series
from assay.assessment.exhibits import Listing
from assay.assessment.extraction.base import shown
from assay.assessment.membership.base import Exposure
from assay.assessment.membership.rmia import RMIA, shadow_rows
from assay.assessment.quality import quality
from assay.core.clock import derive_seed, stream
from assay.core.errors import AssayError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.core.measure import Measure
    from assay.models.refit import Refit

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]
    Rows = tuple[Array, Labels]

_EPSILON = 3.0
_POINT = 0.01
_FACTOR = 5.0
_CHANCE = 0.01
_DRAWN = 1e-4


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way to give less away. what: in words for whoever edits the recipe. variant: of its estimator; policy: of answers."""

    name: str
    what: str
    variant: Mapping[str, Any] = field(default_factory=dict)
    policy: str = "probabilities"


def remedies(region: Region) -> tuple[Remedy, ...]:
    """Return the remedies in the order in which they are tried: what costs least to do comes first."""
    leaves = [
        Remedy(
            f"leaf {n}", f"at least {n} rows in a leaf",
            {"settings": {k: {"at_least": n} for k in ("min_samples_leaf", "min_child_samples", "min_child_weight")}},
        )
        for n in (5, 20, 50)
    ]  # fmt: skip
    depths = [
        Remedy(f"depth {n}", f"trees of at most {n} levels", {"settings": {"max_depth": {"at_most": n}}})
        for n in (8, 4)
    ]
    ridge = Remedy(
        "regularise", "ten times the usual penalty",
        {"settings": {"C": {"at_most": 0.1}, "alpha": {"at_least": 0.1}, "l2_regularization": {"at_least": 10.0},
                      "reg_lambda": {"at_least": 10.0}}},
    )  # fmt: skip
    coarse = [
        Remedy("two decimals", "round answers to two decimals (gateway: rounding)", policy="rounded"),
        Remedy("labels only", "answer labels only (gateway: label_only)", policy="labels"),
    ]
    found = [
        *leaves,
        *depths,
        ridge,
        *coarse,
        Remedy("cross-fitted", "wrap it: CrossFitted(estimator)", {"crossfit": True}),
    ]
    low, high = region.base_low, region.base_high
    if np.isfinite(low).all() and np.isfinite(high).all():
        private = {"epsilon": _EPSILON, "bounds": (low.tolist(), np.where(high > low, high, low + 1.0).tolist())}
        found.append(
            Remedy("private", f"DPLogisticRegression(epsilon={_EPSILON:g}) in place of the model", {"private": private})
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one remedy does: how many members are found, and how good the model still is. why: it could not be tried."""

    remedy: Remedy
    leak: Measure | None = None
    rare: Measure | None = None
    auc: float = 0.0
    accuracy: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fix:
    """All trials, the model as it is first. chosen: the first remedy that is enough, else that which leaks least at its price.

    enough: true positives at 1 % false ones fall five times, at the cost of one point of accuracy or AUC at most.
    """

    trials: tuple[Trial, ...]
    chosen: Trial | None
    enough: bool

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table: remedy, members found at 1 % and 0.1 % false accusations, AUC, accuracy, and what to do."""
        return [_row(trial, chosen=trial is self.chosen) for trial in self.trials]

    def closing(self) -> str:
        """Return the conclusion in one line."""
        first = self.trials[0]
        if first.leak is not None and first.leak.low <= _CHANCE:
            return "Nothing to mend: members are found no more often than by chance, as far as this many rows can tell."
        if self.chosen is None or self.chosen.leak is None or first.leak is None:
            return "No remedy lowers the leak at the price of a point or less."
        factor = first.leak.estimate / max(self.chosen.leak.estimate, 1.0 / self.chosen.leak.n)
        word = "Enough" if self.enough else "The best at that price, and not enough"
        return f"{word}: {self.chosen.remedy.what}; members found at 1 % false accusations fall {factor:.1f} times."

    def listing(self) -> Listing:
        """Return the table for a report."""
        return Listing("membership", "What would help", HEADS, tuple(self.rows()), self.closing())

    def curve(self) -> Curve:
        """Return the trade as a picture: each remedy a point, members found against AUC."""
        series = tuple(
            Series(t.remedy.name, np.array([t.auc]), *(np.array([max(v, _DRAWN)]) for v in (m.estimate, m.low, m.high)))
            for t in self.trials
            if (m := t.leak) is not None
        )
        return Curve(
            "membership", "What each remedy costs", "AUC on test rows", "members found at 1 % false accusations", series,
            log_y=True,
            caption="Lower is safer, further right is better. Each point is one remedy, fitted and attacked anew.",
        )  # fmt: skip

    def to_json(self) -> dict[str, object]:
        """Return the fix as plain data."""
        return {
            "enough": self.enough,
            "chosen": self.chosen.remedy.name if self.chosen else None,
            "trials": [
                {
                    "remedy": t.remedy.name, "what": t.remedy.what, "auc": t.auc, "accuracy": t.accuracy, "not_tried": t.why,
                    "measures": [m.to_json() for m in (t.leak, t.rare) if m is not None],
                }
                for t in self.trials
            ],
        }  # fmt: skip


HEADS = ("remedy", "found at 1 %", "interval", "found at 0.1 %", "AUC", "accuracy", "what to do")


def fix_privacy(
    refit: Callable[[Mapping[str, Any]], Refit],
    train: Rows,
    test: Rows,
    region: Region,
    *,
    profile: str = "quick",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Fix:
    """Try every remedy on the recipe and measure membership inference (RMIA) and quality after each.

    refit: fits the recipe in a variant (``training.variants``), {} for as it is. train, test: (x (n, d), y (n,)).
    The model and its shadows are fitted anew for each remedy, so that the attacker knows the remedy.
    Raises DataError when the model as it is cannot be fitted again.
    """
    setup = _Setup.of(train, test, profile, seed)
    trials: list[Trial] = []
    for remedy in (Remedy("as it is", "nothing"), *remedies(region)):
        if progress:
            progress(remedy.name)
        try:
            trials.append(setup.trial(refit(remedy.variant), remedy))
        except AssayError as error:
            if not trials:
                raise DataError(error.message, remedy=error.remedy) from error
            trials.append(Trial(remedy, why=error.message))
    return _chosen(tuple(trials))


@dataclass(frozen=True, slots=True, eq=False)
class _Setup:
    """The audited rows, who is a member, and which of them each shadow sees; one for all remedies."""

    x: Array
    y: Labels
    member: NDArray[np.bool_]
    test: Rows
    seen: NDArray[np.bool_]
    shadows: int
    classes: int
    seed: int

    @classmethod
    def of(cls, train: Rows, test: Rows, profile: str, seed: int) -> _Setup:
        chosen = profile_of(profile)
        rng = stream(seed, "fix")
        inside = np.sort(rng.permutation(len(train[0]))[: chosen.fit_rows])
        outside = np.sort(rng.permutation(len(test[0]))[: chosen.audit_rows])
        x, y = (
            np.concatenate([train[0][inside], test[0][outside]]),
            np.concatenate([train[1][inside], test[1][outside]]),
        )
        member = np.arange(len(x)) < len(inside)
        seen = shadow_rows(len(x), 4 * chosen.shadows, seed=seed)
        classes = int(max(train[1].max(), test[1].max())) + 1
        return cls(x, y, member, test, seen, chosen.shadows, classes, seed)

    def trial(self, refit: Refit, remedy: Remedy) -> Trial:
        """Return what the remedy does to this recipe."""
        everyone = np.concatenate([self.x, self.test[0]])
        rows = np.flatnonzero(self.member)
        answers = refit.probabilities(
            [(rows, self.y[rows])], self.x, everyone, seed=derive_seed(self.seed, "fix", "target")
        )[0]
        sets = [(s := np.flatnonzero(half), self.y[s]) for half in self.seen]
        shares = refit.probabilities(
            sets, self.x, self.x, seed=derive_seed(self.seed, "fix", "shadows"), fewest=self.shadows
        )
        answers = shown(answers, remedy.policy)
        shares = shown(shares.reshape(-1, self.classes), remedy.policy).reshape(shares.shape)
        n = len(self.x)
        exposure = Exposure(answers[:n], self.y, self.member, shares, self.seen[: len(shares)])
        _, rare, leak = RMIA()(exposure, seed=self.seed).measures
        measured = {m.name: m.estimate for m in quality(answers[n:], self.test[1], seed=self.seed)[0]}
        return Trial(remedy, leak, rare, measured.get("quality.auc", 0.0), measured["quality.accuracy"])


def _chosen(trials: tuple[Trial, ...]) -> Fix:
    first = trials[0]
    assert first.leak is not None
    if first.leak.low <= _CHANCE:
        return Fix(trials, None, enough=False)
    able = [
        t
        for t in trials[1:]
        if t.leak is not None and (t.auc >= first.auc - _POINT or t.accuracy >= first.accuracy - _POINT)
    ]
    for trial in able:
        if trial.leak is not None and trial.leak.estimate * _FACTOR <= first.leak.estimate:
            return Fix(trials, trial, enough=True)
    better = [t for t in able if t.leak is not None and t.leak.estimate < first.leak.estimate]
    best = min(better, key=lambda t: t.leak.estimate if t.leak else 1.0, default=None)
    return Fix(trials, best, enough=False)


def _row(trial: Trial, *, chosen: bool) -> tuple[str, ...]:
    name = f"{trial.remedy.name} (chosen)" if chosen else trial.remedy.name
    if trial.leak is None or trial.rare is None:
        return (name, "", "", "", "", "", f"not tried: {trial.why}")
    spread = f"{trial.leak.low:.1%} to {trial.leak.high:.1%}"
    return (
        name, f"{trial.leak.estimate:.1%}", spread, f"{trial.rare.estimate:.1%}", f"{trial.auc:.3f}",
        f"{trial.accuracy:.3f}", trial.remedy.what,
    )  # fmt: skip

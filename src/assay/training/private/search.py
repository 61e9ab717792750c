"""A private choice of settings: a random number of private trials, of which only the best is ever seen.

To train with many settings and keep the best spends privacy with each of them, unless how many are tried is random and the
others are thrown away unseen (Liu & Talwar 2019; Papernot & Steinke 2022). What that costs is proven in
``stats.privacy.selection``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from assay.core.errors import SettingError, UnsupportedError
from assay.stats.privacy.accountant import Bracket, Events
from assay.stats.privacy.calibrate import noise_for
from assay.stats.privacy.events import SampledGaussian
from assay.stats.privacy.selection import NegativeBinomial, Selected, selection_epsilon
from assay.training.private.audit import Audited
from assay.training.private.claim import Claim
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier, PrivateClassifier, seed_of
from assay.training.private.noise import Noise
from assay.training.private.trees import DPBoostedTreesClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OWN = {"epsilon", "delta", "sigma", "random_state", "classes", "rows"}
_ROUNDS = 8
_CLOSE = 0.99


class PrivateSearch(PrivateClassifier):
    """The best of a random number of private trainings under one (epsilon, delta), the choice among them included.

    estimator: a private classifier; candidates: settings to put into it, given before anybody looks at the rows. A trial
    draws a candidate, trains it and scores it; the model of the best score is kept, and nothing is known of the others, not
    even how many there were. trials, shape: of their number, as in ``NegativeBinomial``. A trial is scored by the rows that it
    gets right, with noise: score_share is the epsilon of that over the training's. With public rows at ``fit``, these
    score, and without noise. random_state: repeatable, for tests only: the statement then says that the claim does not
    hold.
    """

    def __init__(
        self,
        estimator: Any = None,
        candidates: Sequence[Mapping[str, Any]] = ({},),
        epsilon: float = 1.0,
        delta: float = 1e-5,
        *,
        trials: float = 4.0,
        shape: float = 1.0,
        score_share: float = 0.25,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.candidates = candidates
        self.epsilon = epsilon
        self.delta = delta
        self.trials = trials
        self.shape = shape
        self.score_share = score_share
        self.random_state = random_state

    def fit(self, X: Any, y: Any, public: tuple[Any, Any] | None = None) -> Self:
        """Search on rows X (n, d) and labels y (n,); public: rows and labels of no private person, to score by.

        Raises SettingError for candidates that are none, UnsupportedError for an estimator whose price is not known
        before it trains.
        """
        made = self._made()
        x, codes, _ = self._read(X, y)
        labels = self.classes_[codes]
        plan = self._plan(made, self.rows_, scored=public is None)
        noise = Noise(None if self.random_state is None else seed_of(self.random_state), "search")
        best: tuple[float, int, Any] | None = None
        for _ in range(plan.number.draw(float(noise.uniform(1)[0]))):
            place = int(noise.uniform(1)[0] * len(made))
            trial = plan.trial(made[place])
            trial.set_params(random_state=None if self.random_state is None else noise.seed() % 2**31)
            trial.fit(x, labels)
            if public is None:
                right = float((trial.predict(x) == labels).sum())
                score = (right + plan.score_sigma * float(noise.normal(1)[0])) / self.rows_
            else:
                score = float(trial.score(*public))
            if best is None or score > best[0]:
                best = score, place, trial
        assert best is not None
        self.best_score_, self.best_index_, self.best_estimator_ = best
        self.best_params_ = dict(self.candidates[self.best_index_])
        self.claim_ = self._claim(noise.entropy, plan)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row X (n, d) that the chosen model gives."""
        check_is_fitted(self)
        return np.asarray(self.best_estimator_.predict(X))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities (n, k) in the order of ``classes_``."""
        check_is_fitted(self)
        return np.asarray(self.best_estimator_.predict_proba(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return scores (n, k) of the classes, or (n,) of the second one when there are two."""
        check_is_fitted(self)
        return np.asarray(self.best_estimator_.decision_function(X))

    def onnx_bytes(self) -> bytes:
        """Return the chosen model as an ONNX graph. Needs the package onnx."""
        check_is_fitted(self)
        found: bytes = self.best_estimator_.onnx_bytes()
        return found

    def privacy_audit(self, X: Any, y: Any, *, canaries: int = 200, seed: int = 0, confidence: float = 0.95) -> Audited:
        """Audit one trial, of the candidate that ``seed`` draws, against what a trial claims; see ``audit_model.audit``.

        The choice among trials is proven, not audited.
        """
        from assay.training.private.audit_model import audit

        made = self._made()
        plan = self._plan(made, len(X) if self.rows is None else int(self.rows), scored=True)
        return audit(plan.trial(made[seed % len(made)]), X, y, canaries=canaries, seed=seed, confidence=confidence)

    @property
    def classes(self) -> Any:
        """The classes that the estimator declares."""
        return self._base().classes

    @property
    def rows(self) -> int | None:
        """The number of rows that the estimator declares as public."""
        rows: int | None = self._base().rows
        return rows

    def _base(self) -> PrivateClassifier:
        base = DPLogisticRegression() if self.estimator is None else self.estimator
        if not isinstance(base, (DPLogisticRegression, DPMLPClassifier, DPBoostedTreesClassifier)):
            raise UnsupportedError(
                f"what a {type(base).__name__} spends is not known before it trains",
                remedy="Give a DPLogisticRegression, DPMLPClassifier or DPBoostedTreesClassifier",
            )
        return base

    def _made(self) -> list[PrivateClassifier]:
        """Return the estimator with each candidate's settings in it."""
        base = self._base()
        if not self.candidates:
            raise SettingError("there is no candidate to choose", remedy="Give records of settings")
        own = sorted(_OWN & {name for settings in self.candidates for name in settings})
        if own or getattr(base, "sigma", None) is not None:
            raise SettingError(
                f"{', '.join(own) or 'sigma'} cannot be chosen by a search: it sets what each trial may spend",
                remedy="Give epsilon and delta to the search, and the rest to the estimator",
            )
        return [clone(base).set_params(**settings) for settings in self.candidates]

    def _plan(self, made: Sequence[PrivateClassifier], rows: int, *, scored: bool) -> _Plan:
        """Return the plan whose trials train with as much as the search's epsilon allows. Raises SettingError."""
        number = NegativeBinomial(float(self.trials), float(self.shape))
        if not self.epsilon > 0 or not 0 < self.score_share <= 1:
            raise SettingError("epsilon must be above 0 and score_share in (0, 1]", remedy="Give a larger epsilon")

        def at(budget: float) -> _Plan:
            share = self.delta / number.mean
            sigma = noise_for(lambda s: [(SampledGaussian(s), 1)], self.score_share * budget, share) if scored else 0.0
            score: Events = [(SampledGaussian(sigma), 1)] if scored else []
            spent = [_events(clone(c).set_params(epsilon=budget, delta=share), rows) for c in made]
            cost = selection_epsilon(number, [[*events, *score] for events in spent], self.delta)
            return _Plan(number, budget, share, sigma, cost)

        found = at(0.75 * self.epsilon)
        best = found if found.cost.epsilon <= self.epsilon else None
        for _ in range(_ROUNDS):
            if best is not None and best.cost.epsilon >= _CLOSE * self.epsilon:
                break
            found = at(found.budget * (1 + _CLOSE) / 2 * self.epsilon / found.cost.epsilon)
            if found.cost.epsilon <= self.epsilon and (best is None or found.budget > best.budget):
                best = found
        if best is None:
            raise SettingError(f"no trial fits into epsilon {self.epsilon:g}", remedy="Give fewer trials on average")
        return best

    def _claim(self, entropy: str, plan: _Plan) -> Claim:
        own, cost = self.best_estimator_.claim_, plan.cost
        profiles = cost.trial + cost.choice <= cost.renyi
        return Claim(
            f"best of a random number of trials of: {own.mechanism}", self.delta, Bracket(0.0, cost.epsilon, {}),
            cost.renyi, entropy,
            assumptions=(
                *own.assumptions, "the number of trials, and the time that they take, is not seen",
                *(() if plan.score_sigma else ("the rows that score are public",)),
            ),
            details={
                "proof": "privacy profiles" if profiles else "Papernot & Steinke 2022, Theorem 2",
                "parts": {"trial": cost.trial, "choice": cost.choice}, "epsilon_trained": plan.budget,
                "trials": {"distribution": "truncated negative binomial", "mean": plan.number.mean,
                           "shape": plan.number.shape},
                "candidates": [{name: str(value) for name, value in given.items()} for given in self.candidates],
                "chosen": self.best_index_, "score": "rows right, with noise" if plan.score_sigma else "public rows",
                "score_sigma": plan.score_sigma, "training": dict(own.details),
            },
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Plan:
    """How trials are made. budget, share: epsilon and delta of a training; score_sigma: 0.0 for public rows."""

    number: NegativeBinomial
    budget: float
    share: float
    score_sigma: float
    cost: Selected

    def trial(self, made: PrivateClassifier) -> Any:
        """Return a fresh copy of a candidate with the budget of a trial."""
        return clone(made).set_params(epsilon=self.budget, delta=self.share)


def _events(estimator: Any, rows: int) -> Events:
    """Return what one training spends, from its settings alone."""
    if isinstance(estimator, DPBoostedTreesClassifier):
        return estimator.events()
    plan = estimator.plan(rows)
    return [(SampledGaussian(plan.sigma, plan.rate), plan.steps)]

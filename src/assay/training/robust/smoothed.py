"""The smoothed classifier as it is served: a majority vote under Gaussian noise that may abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.clock import derive_seed, stream
from assay.core.errors import SettingError
from assay.core.settings import Constraint, Within

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_RANGES: dict[str, Constraint] = {
    "sigma": Within(0.0, None, open_low=True), "samples": Within(10, None), "copies": Within(1, None),
    "alpha": Within(0.0, 1.0, open_low=True, open_high=True),
}  # fmt: skip
_BLOCK = 1 << 22


class SmoothedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The majority vote of a classifier over Gaussian noise on its input. Cohen, Rosenfeld & Kolter 2019.

    estimator: fitted on ``copies`` noisy copies of each row (None: logistic regression); one that learns from noise by
    itself, as ``AdversarialClassifier(method="noise")``, needs one. sigma: deviation of the noise. scale: as one number a
    value, 0 for those that an attacker cannot change (None: 1). samples: noisy rows asked for one answer.
    alpha: chance that ``decide`` names another class than the exact vote would. random_state: seeds the noise; every
    row sees the same noise, so that an answer does not depend on the rows beside it. Whoever knows the seed can
    attack the sample instead of the vote: keep it to yourself.

    Its radii come from ``assay.assessment.certificates.smoothing``, which draws noise of its own.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        sigma: float = 0.25,
        scale: ArrayLike | None = None,
        samples: int = 100,
        alpha: float = 0.001,
        copies: int = 4,
        random_state: int = 0,
    ) -> None:
        self.estimator = estimator
        self.sigma = sigma
        self.scale = scale
        self.samples = samples
        self.alpha = alpha
        self.copies = copies
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> SmoothedClassifier:
        """Fit a copy of the estimator on noisy rows X (n, d) and labels y (n,). Raises SettingError."""
        for name, constraint in _RANGES.items():
            if not constraint.admits(getattr(self, name)):
                raise SettingError(f"{name} cannot be {getattr(self, name)!r}", remedy=f"Use {constraint.describe()}")
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        if len(np.unique(labels)) < 2:
            raise ValueError("Classifier can't train when only one class is present")
        rng = stream(int(self.random_state), "smoothed", "fit")
        many = np.tile(rows, (self.copies, 1))
        if self.copies > 1:
            # With one copy the estimator is left to add noise of its own.
            many = many + self._deviation(rows.shape[1]) * rng.standard_normal(many.shape)
        self.estimator_ = self._fresh().fit(many, np.tile(labels, self.copies))
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the share of the noisy rows on which each class wins, (n, classes)."""
        return self._votes(X) / self.samples

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class with most votes, (n,), however few."""
        best = self._votes(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def decide(self, X: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the winning classes (n,), and where they win surely, (n,): elsewhere the vote abstains.

        Surely: a binomial test of the two foremost classes at ``alpha`` (Hung & Fithian 2019).
        """
        from scipy.stats import binom

        votes = self._votes(X)
        order = np.sort(votes, axis=1)
        first, both = order[:, -1], order[:, -1] + order[:, -2]
        tail = 2.0 * binom.sf(first - 1, both, 0.5)
        return self.classes_[votes.argmax(axis=1)], tail <= self.alpha

    def _votes(self, X: ArrayLike) -> NDArray[np.intp]:
        check_is_fitted(self, "estimator_")
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        n, width = rows.shape
        noise = stream(int(self.random_state), "smoothed", "vote").standard_normal((self.samples, width))
        noise *= self._deviation(width)
        votes = np.zeros((n, len(self.classes_)), dtype=np.intp)
        size = max(1, _BLOCK // (self.samples * width))
        for start in range(0, n, size):
            part = rows[start : start + size]
            asked = (part[:, None] + noise).reshape(-1, width)
            won = np.searchsorted(self.classes_, self.estimator_.predict(asked)).reshape(len(part), -1)
            votes[start : start + size] = (won[:, :, None] == np.arange(len(self.classes_))).sum(axis=1)
        return votes

    def _deviation(self, width: int) -> NDArray[np.float64]:
        scale: Any = 1.0 if self.scale is None else self.scale
        full: NDArray[np.float64] = np.broadcast_to(self.sigma * np.asarray(scale, dtype=np.float64), (width,))
        return full

    def _fresh(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        inner = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        seed = derive_seed(int(self.random_state), "smoothed", "estimator") % 2**31
        names = {n: seed for n in inner.get_params() if n.rpartition("__")[2] == "random_state"}
        return inner.set_params(**names)


__all__ = ["SmoothedClassifier"]

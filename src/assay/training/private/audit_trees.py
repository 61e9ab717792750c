"""The audit of private boosted trees: one extra training on the rows and the canaries that coins let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import clone

from assay.training.private.audit import Audited, Auditor, planted
from assay.training.private.dpsgd import Step
from assay.training.private.trees import LEAST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.training.private.trees import DPBoostedTreesClassifier

    Array: TypeAlias = NDArray[np.floating[Any]]

_LARGEST = 4.0


def audit(
    estimator: DPBoostedTreesClassifier, X: Any, y: Any, *, canaries: int = 200, seed: int = 0, confidence: float = 0.95
) -> Audited:
    """Train a fresh copy of ``estimator`` on (X, y) and canaries, and return what the run shows about its claim.

    Every tree's sums are made again, row by row; what is left must be noise of the claimed size, fresh in each tree. The
    splits must be those of the settings, and the leaves' values those that the noisy sums give. The copy's noise comes from the
    operating system; seed: of canaries and coins. Raises SettingError for fewer than two canaries.
    """
    trial = planted(X, y, estimator.bounds, canaries, seed=seed, classes=estimator.classes)
    trained = clone(estimator).set_params(
        random_state=None, classes=trial.names, rows=estimator.rows or len(trial.real)
    )
    classes = len(trial.names)
    features, thresholds = trained.splits(trial.rows.shape[1])
    reference = _Reference(trial.rows, trial.codes, features, thresholds, classes)
    auditor = Auditor(reference, trial.table, trial.canaries, sigma=trained.events()[0][0].sigma, rate=1.0)
    released: list[Array] = []

    def watch(step: Step) -> None:
        released.append(step.released)
        auditor(step)

    trained.fit(trial.rows[trial.table], trial.names[trial.codes[trial.table]], observer=watch)
    same_splits = np.array_equal(features, trained.features_) and np.array_equal(thresholds, trained.thresholds_)
    return auditor.result(
        trained.claim_.epsilon.high, trained.delta, confidence=confidence, seed=seed, splits=same_splits,
        released=_made_of(np.array(released), trained.values_, trained.learning_rate, trained.l2),
    )  # fmt: skip


class _Reference:
    """What each row adds to the sums of the next tree, made from the row, the public splits and the trees before."""

    def __init__(
        self, rows: Array, codes: NDArray[np.intp], features: NDArray[np.intp], thresholds: Array, classes: int
    ) -> None:
        self._above = [rows[:, f] > t for f, t in zip(features, thresholds, strict=True)]
        self._target = np.eye(classes)[codes] if classes > 2 else (codes == 1).astype(float)[:, None]
        self._leaves, self._trees = 1 << features.shape[1], 0
        self._scores = np.zeros(self._target.shape)

    def __call__(self, weights: Array, rows: NDArray[np.intp]) -> Array:
        columns = self._scores.shape[1]
        trees = weights.reshape(-1, self._leaves, columns)
        for number in range(self._trees, len(trees)):
            self._scores += trees[number][self._leaf(number)]
        self._trees = len(trees)
        scores = self._scores[rows]
        chances = expit(scores) if columns == 1 else softmax(scores, axis=1)
        parts = np.zeros((len(rows), 2, self._leaves, columns))
        leaf, each = self._leaf(len(trees))[rows], np.arange(len(rows))
        parts[each, 0, leaf] = self._target[rows] - chances
        parts[each, 1, leaf] = chances * (1 - chances)
        return parts.reshape(len(rows), -1)

    def _leaf(self, number: int) -> NDArray[np.intp]:
        leaf = np.zeros(len(self._scores), np.intp)
        for place, above in enumerate(self._above[number].T):
            leaf += above.astype(np.intp) << place
        return leaf


def _made_of(released: Array, values: Array, learning_rate: float, l2: float) -> bool:
    """Return whether the leaves' values (trees, leaves, columns) are those that the released sums give."""
    sums = released.reshape(len(values), 2, *values.shape[1:])
    step = sums[:, 0] / (np.clip(sums[:, 1], LEAST, None) + l2)
    wanted = learning_rate * np.minimum(np.maximum(step, -_LARGEST), _LARGEST)
    return bool(np.allclose(wanted, values, rtol=1e-9, atol=1e-12))

"""Boosted trees under differential privacy: splits drawn without looking at the data, leaves from noisy sums.

A tree of one or two features with random thresholds needs no private search for splits (Geurts et al. 2006 for the
idea); all of the budget goes to the leaves. A row lies in one leaf a tree, so a tree releases two sums a leaf, of
gradients and of curvatures, at the price of one Gaussian mechanism; trees add up as ``trees`` uses of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.clock import stream
from assay.core.errors import SettingError
from assay.stats.privacy.accountant import Events
from assay.stats.privacy.calibrate import noise_for
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.claim import claim
from assay.training.private.dpsgd import Observer, Step
from assay.training.private.estimators import PrivateClassifier, seed_of
from assay.training.private.noise import Noise
from assay.training.private.scaling import ends

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.training.private.dpsgd import Array as Vector

# |gradient| <= 1 for each class of the logistic loss, sqrt(2) over all classes of the softmax; curvature <= 1/4 a class.
_CURVATURE = 0.25
# Noise may leave a leaf without curvature.
LEAST = 1e-9


class DPBoostedTreesClassifier(PrivateClassifier):
    """Gradient boosting of shallow random trees under (epsilon, delta)-differential privacy.

    trees: rounds; depth: splits of a tree, each on one of ``features_per_tree`` features at a threshold that is uniform
    within the bounds, and that every node of a level shares; bounds: (low, high) of the features, scalars or one a
    feature; learning_rate: share of a leaf's value that counts; l2: added to a leaf's curvature. split_seed: of the
    public splits. random_state: repeatable noise, for tests only: the statement then says that the claim does not hold.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        *,
        trees: int = 200,
        depth: int = 3,
        features_per_tree: int = 2,
        learning_rate: float = 0.15,
        l2: float = 20.0,
        bounds: tuple[Any, Any] = (-1.0, 1.0),
        classes: Any = None,
        rows: int | None = None,
        split_seed: int = 0,
        random_state: Any = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.trees = trees
        self.depth = depth
        self.features_per_tree = features_per_tree
        self.learning_rate = learning_rate
        self.l2 = l2
        self.bounds = bounds
        self.classes = classes
        self.rows = rows
        self.split_seed = split_seed
        self.random_state = random_state

    def fit(self, X: Any, y: Any, observer: Observer | None = None) -> Self:
        """Train on rows X (n, d) and labels y (n,); observer sees every tree's release, for audits.

        A step's weights are the values of the trees before it, its release the noisy sums (2, leaves, columns), both flat.
        Raises SettingError for settings out of range.
        """
        x, codes, taken = self._read(X, y)
        self._check()
        k = len(self.classes_)
        columns, leaves = 1 if k == 2 else k, 1 << self.depth
        sensitivity = self.reach(k)
        noise = Noise(None if self.random_state is None else seed_of(self.random_state))
        self.features_, self.thresholds_ = self.splits(x.shape[1])
        events = self.events()
        scale = events[0][0].sigma * sensitivity
        target = (codes == 1)[:, None].astype(float) if k == 2 else np.eye(k)[codes]
        scores, values, all_rows = (
            np.zeros((len(x), columns)),
            np.zeros((self.trees, leaves, columns)),
            np.arange(len(x)),
        )
        for number in range(self.trees):
            leaf = self._leaves(x, number)
            chances = _chances(scores)
            sums = np.stack([_sums(leaf, target - chances, leaves), _sums(leaf, chances * (1 - chances), leaves)])
            sums += scale * noise.normal(2, leaves, columns).astype(np.float64)
            if observer is not None:
                before, released = cast("Vector", values[:number].reshape(-1)), cast("Vector", sums.reshape(-1).copy())
                observer(Step(number, all_rows, before, released, sensitivity))
            curvatures = np.maximum(sums[1], LEAST) + self.l2
            values[number] = self.learning_rate * np.clip(sums[0] / curvatures, -4.0, 4.0)
            scores += values[number][leaf]
        self.values_ = values
        self.n_iter_ = self.trees
        low, high = ends(self.bounds, x.shape[1])
        self.claim_ = claim(
            events, self.delta,
            mechanism="Gaussian sums in the leaves of trees whose splits do not depend on the data", entropy=noise.entropy,
            assumptions=(*taken, "settings were chosen without looking at the data", "noise is taken to be real-valued"),
            details={"sigma": events[0][0].sigma, "sensitivity": sensitivity, "sample_rate": 1.0, "steps": self.trees,
                     "sampler": "all rows",
                     "preprocessing": {"bounds": [low.tolist(), high.tolist()], "learnt": "nothing"}},
        )  # fmt: skip
        return self

    def events(self) -> list[tuple[SampledGaussian, int]]:
        """Return what a training spends: the least noise that meets epsilon, once a tree."""

        def spent(sigma: float) -> Events:
            return [(SampledGaussian(sigma), self.trees)]

        return [(SampledGaussian(noise_for(spent, self.epsilon, self.delta)), self.trees)]

    def reach(self, classes: int) -> float:
        """Return by how much one row can move the sums of a tree: its leaf's gradient, and a curvature of 1/4 a class."""
        columns = 1 if classes == 2 else classes
        return float(((1.0 if classes == 2 else 2.0) + columns * _CURVATURE**2) ** 0.5)

    def onnx_bytes(self) -> bytes:
        """Return the fitted classifier as an ONNX graph. Needs the package onnx."""
        from assay.training.private.export import trees_onnx

        check_is_fitted(self)
        return trees_onnx(self.features_, self.thresholds_, self.values_, self.n_features_in_, self.classes_)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return scores (n, k), or (n,) of the second class when there are two."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        scores = np.zeros((len(x), self.values_.shape[2]))
        for number in range(len(self.values_)):
            scores += self.values_[number][self._leaves(x, number)]
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities (n, k) in the order of ``classes_``."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            second = _chances(scores[:, None])
            return np.concatenate([1 - second, second], axis=1)
        return _chances(scores)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row."""
        scores = self.decision_function(X)
        best = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _check(self) -> None:
        if not (self.trees >= 1 and 1 <= self.depth <= 12 and self.features_per_tree >= 1):
            raise SettingError("trees, depth and features_per_tree must be 1 or more, depth at most 12")
        if not (self.learning_rate > 0 and self.l2 >= 0):
            raise SettingError("learning_rate must be above 0 and l2 not below 0")

    def splits(self, width: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return features and thresholds (trees, depth) for rows of ``width`` features: functions of the settings alone.

        Each tree takes its few features in turn of a public shuffle.
        """
        low, high = ends(self.bounds, width)
        rng = stream(self.split_seed, "tree-splits")
        few = self.features_per_tree
        rounds = -(-self.trees * few // width)
        order = np.concatenate([rng.permutation(width) for _ in range(rounds)])[: self.trees * few].reshape(-1, few)
        features = order[:, np.arange(self.depth) % few]
        share = rng.random((self.trees, self.depth))
        return features, low[features] + share * (high - low)[features]

    def _leaves(self, x: NDArray[np.float64], number: int) -> NDArray[np.intp]:
        """Return the leaf of each row in one tree: the bits of its comparisons."""
        bits = x[:, self.features_[number]] > self.thresholds_[number]
        return np.asarray(bits @ (1 << np.arange(self.depth)), np.intp)


def _chances(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if scores.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -500, 500))))
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _sums(leaf: NDArray[np.intp], values: NDArray[np.float64], leaves: int) -> NDArray[np.float64]:
    """Return the sum of values (n, c) in each leaf, (leaves, c)."""
    return np.stack([np.bincount(leaf, column, leaves) for column in values.T], axis=1)

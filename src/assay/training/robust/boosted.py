"""Boosted trees that are trained on the worst that a bounded adversary can make of each row, with scikit-learn's API."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.errors import SettingError
from assay.models.trees import TreeBuilder
from assay.training.robust.growing import Growth, Node, Reach, grow, worst

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from assay.models.trees import Link, TreeEnsemble

    Array = NDArray[np.float64]


class RobustBoostedTrees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gradient boosting whose loss is that of the worst input within ``epsilon`` of each row, not of the row itself.

    epsilon: how far a value may be moved, in units of ``scale`` (d,) (None: of the columns themselves); 0 is ordinary
    boosting. The margin of a row is bounded from below by the sum over trees of the worst leaf that its ball reaches; the
    bound is what is boosted (Andriushchenko & Hein 2019). Several classes: one against the rest. Same data, same trees.
    Fitted: ``trees_`` (a ``TreeEnsemble``), ``classes_``, ``n_features_in_``. Exact distances: ``TreeExact``.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.1,
        scale: ArrayLike | None = None,
        n_estimators: int = 100,
        learning_rate: float = 0.2,
        max_depth: int = 4,
        max_bins: int = 64,
        l2: float = 1.0,
        min_hessian: float = 1.0,
    ) -> None:
        self.epsilon = epsilon
        self.scale = scale
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.max_bins = max_bins
        self.l2 = l2
        self.min_hessian = min_hessian

    def fit(self, X: ArrayLike, y: ArrayLike) -> RobustBoostedTrees:
        """Fit on rows X (n, d) with labels y (n,). Raises SettingError for a setting out of range."""
        self._check()
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        reach = self.epsilon * self._scale(rows.shape[1])
        held = Reach.of(rows, reach, self.max_bins)
        outputs = len(self.classes_) if len(self.classes_) > 2 else 1
        builder, base = TreeBuilder(outputs), np.zeros(outputs)
        for output in range(outputs):
            positive = codes == (output if outputs > 1 else 1)
            base[output] = self._boost(builder, output, held, positive)
        link: Link = "logistic" if outputs == 1 else "softmax"
        self.trees_: TreeEnsemble = builder.build(
            width=rows.shape[1], classes=max(2, len(self.classes_)), base=base, link=link
        )
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Return scores of rows X (n, d): (n,) for two classes, class 1 where positive; else (n, classes)."""
        check_is_fitted(self)
        scores = self.trees_.scores(validate_data(self, X, dtype=np.float64, reset=False))
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return class probabilities (n, classes)."""
        scores = self.decision_function(X)
        if scores.ndim == 2:
            raised = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float64)
        if len(self.classes_) == 1:
            return np.ones((len(scores), 1))
        share = 1.0 / (1.0 + np.exp(np.clip(-scores, -700, 700)))
        return np.stack([1.0 - share, share], axis=1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def _boost(self, builder: TreeBuilder, output: int, held: Reach, positive: NDArray[np.bool_]) -> float:
        """Add the trees of one output to ``builder``; return the score they start from."""
        share = min(max(float(positive.mean()), 1e-6), 1.0 - 1e-6)
        base = math.log(share / (1.0 - share))
        growth = Growth(self.max_depth, self.l2, self.min_hessian)
        margin = np.full(len(positive), base)
        for _ in range(self.n_estimators):
            chance = 1.0 / (1.0 + np.exp(-margin))
            nodes = grow(held, positive, chance - positive, chance * (1.0 - chance), growth)
            for node in nodes:
                node.value *= self.learning_rate
            margin += worst(nodes, positive)
            _add(builder, nodes, output)
        return base

    def _scale(self, width: int) -> Array:
        scale = np.ones(width) if self.scale is None else np.asarray(self.scale, dtype=np.float64)
        if scale.shape != (width,) or not (scale >= 0).all():
            raise SettingError(
                f"a scale of shape {scale.shape} does not fit {width} columns", remedy="Give one number >= 0 a column"
            )
        return scale

    def _check(self) -> None:
        whole = {"n_estimators": 1, "max_depth": 1, "max_bins": 2}
        for name, least in whole.items():
            if not isinstance(getattr(self, name), (int, np.integer)) or getattr(self, name) < least:
                raise SettingError(
                    f"{name} cannot be {getattr(self, name)!r}", remedy=f"Give an integer of {least} or more"
                )
        for name, strict in {"epsilon": False, "l2": False, "min_hessian": False, "learning_rate": True}.items():
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (strict and value == 0):
                raise SettingError(f"{name} cannot be {value!r}", remedy="Give a finite number, not below zero")


def _add(builder: TreeBuilder, nodes: list[Node], output: int) -> None:
    value = np.zeros((len(nodes), builder.outputs))
    value[:, output] = [node.value if node.feature < 0 else 0.0 for node in nodes]
    columns = ([getattr(node, name) for node in nodes] for name in ("feature", "cut", "left", "right"))
    feature, cut, left, right = columns
    builder.tree(feature, cut, left, right, np.zeros(len(nodes), dtype=bool), value)


__all__ = ["RobustBoostedTrees"]

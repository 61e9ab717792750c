"""Trees of scikit-learn: decision trees, forests, extra trees and gradient boosting, by ``tree_`` and ``estimators_``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import UnsupportedError
from assay.models.trees import TreeBuilder, TreeEnsemble, TreeReader, single_cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.trees import Link

_FORESTS = {"DecisionTreeClassifier", "ExtraTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier"}
_HISTOGRAM = "HistGradientBoostingClassifier"


class SklearnTrees(TreeReader, name="sklearn"):
    """Trees that compare in single precision and add in double, as ``sklearn.tree`` does."""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is one of scikit-learn's tree classifiers."""
        known = {*_FORESTS, "GradientBoostingClassifier", _HISTOGRAM}
        return type(model).__name__ in known and type(model).__module__.startswith("sklearn.")

    @classmethod
    def read(cls, model: Any) -> TreeEnsemble:
        """Return the trees. Raises UnsupportedError for several targets, and boosting on another model."""
        if type(model).__name__ == _HISTOGRAM:
            raise UnsupportedError(
                "scikit-learn does not show the trees of its histogram gradient boosting",
                remedy="Convert it with `assay convert` and read the ONNX file; WithTrees joins its trees to the model",
            )
        if type(model).__name__ in _FORESTS:
            return _forest(model)
        return _boosting(model)


def _forest(model: Any) -> TreeEnsemble:
    if getattr(model, "n_outputs_", 1) != 1:
        raise UnsupportedError("the forest has several targets", remedy="Certify one target at a time")
    classes = len(model.classes_)
    builder = TreeBuilder(classes)
    for member in getattr(model, "estimators_", [model]):
        _add(builder, member.tree_, member.tree_.value[:, 0, :])
    return builder.build(width=model.n_features_in_, classes=classes, base=0.0, link="mean")


def _boosting(model: Any) -> TreeEnsemble:
    if model.init is not None and not isinstance(model.init, str):
        raise UnsupportedError("gradient boosting on another model has no exact form", remedy="Leave `init` out")
    members: NDArray[Any] = model.estimators_
    targets = members.shape[1]
    builder = TreeBuilder(targets)
    zero = np.zeros((1, model.n_features_in_))
    added = np.zeros(targets)
    for row in members:
        for target, member in enumerate(row):
            value = np.zeros((member.tree_.node_count, targets))
            value[:, target] = model.learning_rate * member.tree_.value[:, 0, 0]
            _add(builder, member.tree_, value)
            added[target] += value[member.apply(zero)[0], target]
    base = np.atleast_1d(model.decision_function(zero)[0]) - added
    link: Link = "logistic" if targets == 1 else "softmax"
    return builder.build(width=model.n_features_in_, classes=len(model.classes_), base=base, link=link)


def _add(builder: TreeBuilder, tree: Any, value: NDArray[np.float64]) -> None:
    leaf = tree.children_left < 0
    missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, dtype=bool))
    builder.tree(
        np.where(leaf, -1, tree.feature), single_cut(tree.threshold), tree.children_left, tree.children_right,
        np.asarray(missing, dtype=bool), value,
    )  # fmt: skip

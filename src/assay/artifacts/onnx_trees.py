"""Trees as ONNX: fitted scikit-learn trees written node by node with double thresholds, so that no row changes sides.

Single-precision thresholds move rows that lie near a split to another leaf. The nodes here carry double
thresholds (ai.onnx.ml 3, ``TreeEnsembleRegressor`` with ``*_as_tensor``), the side that missing values take, and
native categories as chains of equalities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True)
class TreeTable:
    """The nodes of an ensemble, in the columns that ONNX wants. targets: number of outputs."""

    targets: int
    tree: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    mode: list[str] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    missing_left: list[int] = field(default_factory=list)
    leaf_tree: list[int] = field(default_factory=list)
    leaf_node: list[int] = field(default_factory=list)
    leaf_target: list[int] = field(default_factory=list)
    leaf_weight: list[float] = field(default_factory=list)
    trees: int = 0

    def branch(
        self, node: int, feature: int, value: float, left: int, right: int, missing_left: bool, *, mode: str
    ) -> None:
        """Add an inner node of the tree being written: rows for which the test holds go left."""
        self._node(node, feature, value, mode, left, right, int(missing_left))

    def leaf(self, node: int, weights: Sequence[float], first: int = 0) -> None:
        """Add a leaf that adds ``weights`` to the targets from ``first`` on."""
        self._node(node, 0, 0.0, "LEAF", 0, 0, 0)
        for offset, weight in enumerate(weights):
            self.leaf_tree.append(self.trees)
            self.leaf_node.append(node)
            self.leaf_target.append(first + offset)
            self.leaf_weight.append(weight)

    def attributes(self, base: Sequence[float]) -> dict[str, Any]:
        """Return the attributes of a ``TreeEnsembleRegressor`` that starts from ``base`` (targets,)."""
        return {
            "n_targets": self.targets,
            "aggregate_function": "SUM",
            "post_transform": "NONE",
            "nodes_treeids": self.tree,
            "nodes_nodeids": self.node,
            "nodes_featureids": self.feature,
            "nodes_values_as_tensor": _doubles("nodes_values", self.value),
            "nodes_modes": self.mode,
            "nodes_truenodeids": self.left,
            "nodes_falsenodeids": self.right,
            "nodes_missing_value_tracks_true": self.missing_left,
            "target_treeids": self.leaf_tree,
            "target_nodeids": self.leaf_node,
            "target_ids": self.leaf_target,
            "target_weights_as_tensor": _doubles("target_weights", self.leaf_weight),
            "base_values_as_tensor": _doubles("base_values", list(base)),
        }

    def _node(self, node: int, feature: int, value: float, mode: str, left: int, right: int, missing: int) -> None:
        self.tree.append(self.trees)
        self.node.append(node)
        self.feature.append(feature)
        self.value.append(value)
        self.mode.append(mode)
        self.left.append(left)
        self.right.append(right)
        self.missing_left.append(missing)


def add_tree(table: TreeTable, tree: Any, scale: float, first: int = 0) -> None:
    """Add a ``sklearn.tree`` structure whose leaves are multiplied by ``scale``."""
    left, right = tree.children_left.tolist(), tree.children_right.tolist()
    features, thresholds = tree.feature.tolist(), tree.threshold.tolist()
    missing, values = tree.missing_go_to_left.tolist(), (tree.value[:, 0, :] * scale).tolist()
    for node in range(tree.node_count):
        if left[node] < 0:
            table.leaf(node, values[node], first)
        else:
            table.branch(
                node, features[node], thresholds[node], left[node], right[node], bool(missing[node]), mode="BRANCH_LEQ"
            )
    table.trees += 1


def add_histogram_tree(
    table: TreeTable, predictor: Any, target: int, columns: Sequence[int], categories: Sequence[NDArray[np.float64]]
) -> None:
    """Add one tree of a ``HistGradientBoosting`` model.

    columns: the model's input column of each of the tree's features. categories: the values of each native
    category, in the order of its codes; such features come first. A value that was not seen in training goes where
    missing values go, as scikit-learn has it.
    """
    nodes, spare = predictor.nodes, len(predictor.nodes)
    for number, node in enumerate(nodes):
        left, right, feature = int(node["left"]), int(node["right"]), int(node["feature_idx"])
        if node["is_leaf"]:
            table.leaf(number, [float(node["value"])], target)
        elif not node["is_categorical"]:
            threshold, missing = float(node["num_threshold"]), bool(node["missing_go_to_left"])
            table.branch(number, columns[feature], threshold, left, right, missing, mode="BRANCH_LEQ")
        else:
            bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
            goes_left = [bool((int(bits[c >> 5]) >> (c & 31)) & 1) for c in range(len(categories[feature]))]
            # The chain lists the side that missing values do not take; whatever is not listed goes with them.
            listed = not node["missing_go_to_left"]
            chain = [
                v for v, side in zip(categories[feature].tolist(), goes_left, strict=True) if side == listed and v == v
            ]
            hit, miss = (left, right) if listed else (right, left)
            spare = _chain(table, number, spare, columns[feature], chain, hit, miss)
    table.trees += 1


def _chain(table: TreeTable, node: int, spare: int, column: int, values: list[float], hit: int, miss: int) -> int:
    """Write ``node`` as a chain of equalities; return the next unused node id."""
    if not values:
        table.branch(node, column, float("-inf"), miss, miss, False, mode="BRANCH_LEQ")
        return spare
    for position, value in enumerate(values):
        last = position == len(values) - 1
        table.branch(node, column, value, hit, miss if last else spare, False, mode="BRANCH_EQ")
        if not last:
            node, spare = spare, spare + 1
    return spare


def _doubles(name: str, values: list[float]) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor(name, TensorProto.DOUBLE, (len(values),), values)

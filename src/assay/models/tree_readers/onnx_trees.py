"""Trees of ONNX graphs: one tree operator of ``ai.onnx.ml`` between casts and a link, float or double."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import DataError, FormatError, UnsupportedError
from assay.models.estimator import local_path_of, need
from assay.models.trees import TreeBuilder, TreeEnsemble, TreeReader, below, single_cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.trees import Link

    Pieces = tuple[NDArray[np.float64], NDArray[np.bool_]]

_TREES = {"TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
# What may stand after the trees. Whether it is what the link takes it for is told by the agreement check.
_AFTER = {
    "Cast",
    "Identity",
    "Sigmoid",
    "Sub",
    "Concat",
    "Softmax",
    "ArgMax",
    "Gather",
    "ArrayFeatureExtractor",
    "Reshape",
}
_FLOAT, _DOUBLE = 1, 11


class OnnxTrees(TreeReader, name="onnx"):
    """Trees that compare in the precision of the graph, after rounding to float32 where it has such a cast."""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is the path of an ``.onnx`` file, or a graph's bytes."""
        return isinstance(model, bytes) or local_path_of(model).endswith(".onnx")

    @classmethod
    def read(cls, model: Any) -> TreeEnsemble:
        """Return the trees. Raises DataError, FormatError, and UnsupportedError for graphs with other operators."""
        try:
            import onnx
            from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        except ImportError as error:
            raise need("onnx", "assess") from error
        path = local_path_of(model)
        try:
            graph = onnx.load_model_from_string(Path(path).read_bytes() if path else model).graph
        except OSError as error:
            raise DataError("the model cannot be read", where=path) from error
        except DecodeError as error:
            raise FormatError("not an ONNX model", where=path) from error
        found = [node for node in graph.node if node.op_type in _TREES]
        if len(found) != 1:
            raise UnsupportedError(f"a graph with {len(found)} tree operators has no exact form", where=path)
        rounded, double = _way_in(graph, found[0])
        table = {a.name: onnx.helper.get_attribute_value(a) for a in found[0].attribute}
        later = {node.op_type for node in graph.node[list(graph.node).index(found[0]) + 1 :]}
        if later - _AFTER:
            raise UnsupportedError(f"no exact form of {', '.join(sorted(later - _AFTER))} after the trees", where=path)
        width = graph.input[0].type.tensor_type.shape.dim[1].dim_value or int(max(table["nodes_featureids"])) + 1
        return _Operator(table, _TREES[found[0].op_type], later, rounded=rounded, double=double).trees(width)


def _way_in(graph: Any, node: Any) -> tuple[bool, bool]:
    """Return whether inputs are rounded to float32 on the way to the trees, and whether they arrive as doubles."""
    before = {output: other for other in graph.node for output in other.output}
    kinds: list[int] = []
    name = node.input[0]
    while name in before:
        step = before[name]
        if step.op_type == "Cast":
            kinds.append(next(a.i for a in step.attribute if a.name == "to"))
        elif step.op_type != "Identity":
            raise UnsupportedError(
                f"no exact form of {step.op_type} before the trees", remedy="Convert the trees alone"
            )
        name = step.input[0]
    kinds.append(graph.input[0].type.tensor_type.elem_type)
    if len(graph.input) != 1 or not set(kinds) <= {_FLOAT, _DOUBLE}:
        raise UnsupportedError("the graph does not take one tensor of floats", remedy="Convert it for float rows")
    return _FLOAT in kinds, kinds[0] == _DOUBLE


@dataclass(frozen=True, slots=True, eq=False)
class _Operator:
    """The attributes of a tree operator. kind: "class" or "target"; later: operators that follow."""

    table: dict[str, Any]
    kind: str
    later: set[str]
    rounded: bool
    double: bool

    def trees(self, width: int) -> TreeEnsemble:
        """Return the ensemble. Raises UnsupportedError for other sums than the total or mean of all trees."""
        table = self.table
        how = table.get("aggregate_function", b"SUM").decode()
        if how not in {"SUM", "AVERAGE"}:
            raise UnsupportedError(f"trees put together by {how} have no exact form")
        tree, ids = np.array(table["nodes_treeids"]), np.array(table["nodes_nodeids"])
        targets = np.array(table[f"{self.kind}_ids"])
        classes = len(table.get("classlabels_int64s", ())) or len(table.get("classlabels_strings", ()))
        single = self.kind == "class" and classes == 2 and len(np.unique(targets)) == 1
        outputs = 1 if single else classes if self.kind == "class" else int(table["n_targets"])
        place = {(t, n): i for i, (t, n) in enumerate(zip(tree.tolist(), ids.tolist(), strict=True))}
        value = np.zeros((len(tree), outputs))
        share = len(np.unique(tree)) if how == "AVERAGE" else 1
        weights = self._numbers(f"{self.kind}_weights")
        leaves = zip(table[f"{self.kind}_treeids"], table[f"{self.kind}_nodeids"], targets.tolist(), strict=True)
        for (t, n, target), weight in zip(leaves, weights.tolist(), strict=True):
            value[place[t, n], 0 if single else target] += weight / share
        builder = TreeBuilder(outputs)
        for t in np.unique(tree):
            self._add(builder, np.flatnonzero(tree == t), ids, value)
        link, shift = self._link(outputs, bool((weights >= 0).all()))
        base = self._numbers("base_values") if self._has("base_values") else np.zeros(1)
        return builder.build(width=width, classes=max(2, outputs), base=base + shift, link=link, single=not self.double)

    def _link(self, outputs: int, positive: bool) -> tuple[Link, float]:
        """Return the link, and what is added to the scores of one output to make zero its boundary."""
        transform = self.table.get("post_transform", b"NONE").decode()
        if transform not in {"NONE", "LOGISTIC", "SOFTMAX"}:
            raise UnsupportedError(f"the link {transform} has no exact form")
        if outputs > 1:
            return ("softmax" if transform == "SOFTMAX" or "Softmax" in self.later else "mean"), 0.0
        # Without a link, one output of a classifier with positive weights is a share, and one half its boundary.
        shared = self.kind == "class" and transform == "NONE" and positive
        return "logistic", -0.5 if shared else 0.0

    def _add(self, builder: TreeBuilder, rows: NDArray[np.intp], ids: NDArray[Any], value: NDArray[np.float64]) -> None:
        table = self.table
        place = {int(n): i for i, n in enumerate(ids[rows].tolist())}
        tracks = table.get("nodes_missing_value_tracks_true") or [0] * len(ids)
        thresholds = self._numbers("nodes_values")
        columns: list[tuple[int, float, int, int, bool]] = []
        pieces: dict[int, Pieces] = {}
        for number, row in enumerate(rows.tolist()):
            mode = table["nodes_modes"][row].decode()
            if mode == "LEAF":
                columns.append((-1, 0.0, -1, -1, False))
                continue
            yes, no = place[table["nodes_truenodeids"][row]], place[table["nodes_falsenodeids"][row]]
            # A comparison with NaN fails, but for "differs".
            missing_yes = bool(tracks[row]) or mode == "BRANCH_NEQ"
            cut, turned, odd = self._test(mode, float(thresholds[row]))
            if odd is not None:
                pieces[number] = odd
            left, right = (no, yes) if turned else (yes, no)
            columns.append((int(table["nodes_featureids"][row]), cut, left, right, missing_yes != turned))
        feature, cuts, left_, right_, missing = zip(*columns, strict=True)
        if 0 in {*left_, *right_}:
            raise UnsupportedError("a tree whose first node is not its root has no exact form here")
        builder.tree(feature, cuts, left_, right_, missing, value[rows], pieces)

    def _test(self, mode: str, threshold: float) -> tuple[float, bool, Pieces | None]:
        """Return the cut of a test, whether what passes it lies above, and the pieces of a test for equality."""
        at_most = float(single_cut(threshold)) if self.rounded else threshold
        less = float(single_cut(threshold, strict=True)) if self.rounded else float(below(threshold))
        if mode in {"BRANCH_LEQ", "BRANCH_GT"}:
            return at_most, mode == "BRANCH_GT", None
        if mode in {"BRANCH_LT", "BRANCH_GTE"}:
            return less, mode == "BRANCH_GTE", None
        if mode not in {"BRANCH_EQ", "BRANCH_NEQ"}:
            raise UnsupportedError(f"the test {mode} has no exact form")
        turned = mode == "BRANCH_NEQ"
        if not less < at_most:
            # No number of the precision equals the threshold.
            return -np.inf, turned, None
        return 0.0, turned, (np.array([less, at_most]), np.array([False, True, False]))

    def _has(self, name: str) -> bool:
        return f"{name}_as_tensor" in self.table or bool(len(self.table.get(name, ())))

    def _numbers(self, name: str) -> NDArray[np.float64]:
        """Return an attribute of numbers, given as floats or as a tensor of doubles."""
        from onnx import numpy_helper

        tensor = self.table.get(f"{name}_as_tensor")
        held = numpy_helper.to_array(tensor) if tensor is not None else np.array(self.table[name], dtype=np.float32)
        return np.asarray(held, dtype=np.float64)


__all__ = ["OnnxTrees"]

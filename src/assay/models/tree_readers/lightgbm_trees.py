"""Trees of LightGBM, by ``Booster.dump_model``: its three ways with missing values, and categories as sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import UnsupportedError
from assay.models.trees import TreeBuilder, TreeEnsemble, TreeReader, pieces_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.trees import Link

    Pieces = tuple[NDArray[np.float64], NDArray[np.bool_]]

# Values this close to zero count as zero (kZeroThreshold, a single-precision constant).
_ZERO = float(np.float32(1e-35))
_END = 1e300


class LightgbmTrees(TreeReader, name="lightgbm"):
    """Trees that compare ``value <= threshold`` and add in double precision."""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is a LightGBM classifier or booster."""
        return type(model).__module__.startswith("lightgbm.")

    @classmethod
    def read(cls, model: Any) -> TreeEnsemble:
        """Return the trees. Raises UnsupportedError for linear leaves and for objectives that do not classify."""
        booster = getattr(model, "booster_", model)
        dumped = booster.dump_model(num_iteration=getattr(booster, "best_iteration", -1) or -1)
        objective, *options = (str(dumped.get("objective", "")) or "none").split()
        if objective not in {"binary", "multiclass", "multiclassova"}:
            raise UnsupportedError(
                f"LightGBM's objective {objective} has no exact form", remedy="Use binary or multiclass"
            )
        if dumped.get("pandas_categorical"):
            raise UnsupportedError("text categories are coded inside LightGBM", remedy="Fit on category codes")
        outputs = int(dumped["num_tree_per_iteration"])
        sigmoid = dict(option.split(":", 1) for option in options if ":" in option).get("sigmoid", "1")
        trees = dumped["tree_info"]
        share = len(trees) // outputs if dumped.get("average_output") else 1
        # The slope of the logistic changes no label, but it is what the model compares in the end.
        scale = (float(sigmoid) if objective == "binary" else 1.0) / share
        builder = TreeBuilder(outputs)
        for number, tree in enumerate(trees):
            _add(builder, tree["tree_structure"], number % outputs, scale)
        link: Link = "logistic" if outputs == 1 else "softmax"
        return builder.build(width=int(dumped["max_feature_idx"]) + 1, classes=max(2, outputs), base=0.0, link=link)


def _add(builder: TreeBuilder, top: dict[str, Any], target: int, scale: float) -> None:
    rows: list[tuple[int, float, int, int, bool]] = []
    value: list[float] = []
    pieces: dict[int, Pieces] = {}
    rest: list[dict[str, Any]] = [top]
    # Breadth first: the children of a node get the next two numbers.
    for node in rest:
        if "leaf_const" in node or "leaf_coeff" in node:
            raise UnsupportedError("linear leaves have no exact form", remedy="Fit with linear_tree=False")
        if "split_feature" not in node:
            rows.append((-1, 0.0, -1, -1, False))
            value.append(float(node["leaf_value"]) * scale)
            continue
        cut, missing, odd = _split(node)
        if odd is not None:
            pieces[len(rows)] = odd
        rows.append((int(node["split_feature"]), cut, len(rest), len(rest) + 1, missing))
        value.append(0.0)
        rest += [node["left_child"], node["right_child"]]
    table = np.zeros((len(rows), builder.outputs))
    table[:, target] = value
    feature, cuts, left, right, missing_left = zip(*rows, strict=True)
    builder.tree(feature, cuts, left, right, missing_left, table, pieces)


def _split(node: dict[str, Any]) -> tuple[float, bool, Pieces | None]:
    """Return cut, side of missing values and, for other tests than ``<=``, the pieces."""
    kind, to_left = str(node["missing_type"]), bool(node["default_left"])
    if node["decision_type"] == "==":
        cuts, side = pieces_of([float(text) for text in str(node["threshold"]).split("||")])
        return 0.0, False, (cuts, side)
    cut = _settled(float(node["threshold"]))
    if kind == "NaN":
        return cut, to_left, None
    if kind == "None":
        # Without a missing type, LightGBM reads a missing value as zero.
        return cut, cut >= 0.0, None
    return cut, to_left, _around_zero(cut, to_left=to_left)


def _settled(cut: float) -> float:
    """Return the cut when input rows are taken as LightGBM takes them: zero where close to it, and ended at 1e300."""
    if -_ZERO <= cut < 0.0:
        return float(np.nextafter(-_ZERO, -np.inf))
    if cut >= _END:
        return float("inf")
    return max(cut, _ZERO) if cut >= 0.0 else cut


def _around_zero(cut: float, *, to_left: bool) -> Pieces | None:
    """Return the pieces of a split where zero counts as missing and takes the default side."""
    edges = np.array(sorted({cut, float(np.nextafter(-_ZERO, -np.inf)), _ZERO}))
    ends = np.append(edges, np.inf)
    zero = (ends >= -_ZERO) & (ends <= _ZERO)
    return edges, np.where(zero, to_left, ends <= cut)

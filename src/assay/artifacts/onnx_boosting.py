"""XGBoost and LightGBM classifiers as ONNX trees, from the forms that the libraries themselves write out."""

from __future__ import annotations

import json
import math
from typing import Any

from assay.artifacts.onnx_trees import TreeTable

_SOFT = {"multi:softprob", "multi:softmax"}
_LOGISTIC = {"binary:logistic", "reg:logistic"}


def xgboost_trees(model: Any) -> tuple[TreeTable, list[float]]:
    """Return the trees of an XGBoost classifier or booster, and the scores they start from.

    Inputs are to be rounded to single precision first, as XGBoost does. Raises NotImplementedError for a linear
    booster, for dropout weights, for native categories and for other objectives than logistic and softmax.
    """
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    trained, parameters = learner["gradient_booster"], learner["learner_model_param"]
    objective = learner["objective"]["name"]
    if trained["name"] != "gbtree" or objective not in _SOFT | _LOGISTIC:
        raise NotImplementedError(f"no exact form of XGBoost's {trained['name']} with {objective}")
    targets = max(1, int(parameters["num_class"])) if objective in _SOFT else 1
    written = str(parameters["base_score"]).strip("[]").split(",")
    base = [float(text) for text in written]
    if objective in _LOGISTIC:
        base = [math.log(p / (1 - p)) for p in base]
    table = TreeTable(targets)
    end = _best_end(model, booster, trained["model"])
    groups = trained["model"]["tree_info"][:end]
    for tree, target in zip(trained["model"]["trees"][:end], groups, strict=True):
        _add_xgboost(table, tree, int(target))
    return table, base * (targets // len(base)) if len(base) < targets else base


def lightgbm_trees(model: Any) -> tuple[TreeTable, list[float]]:
    """Return the trees of a LightGBM classifier or booster, scaled to its objective, and zeros to start from.

    Raises NotImplementedError where zero counts as missing, for linear leaves and for other objectives than binary and
    softmax.
    """
    booster = getattr(model, "booster_", model)
    dumped = booster.dump_model(num_iteration=getattr(booster, "best_iteration", -1) or -1)
    objective, *options = str(dumped.get("objective", "")).split()
    if objective not in {"binary", "multiclass"}:
        raise NotImplementedError(f"no exact form of LightGBM's objective {objective or 'of one own'}")
    settings = dict(option.split(":", 1) for option in options if ":" in option)
    scale = float(settings.get("sigmoid", "1")) if objective == "binary" else 1.0
    targets = int(dumped["num_tree_per_iteration"])
    table = TreeTable(targets)
    share = len(dumped["tree_info"]) // targets if dumped.get("average_output") else 1
    for number, tree in enumerate(dumped["tree_info"]):
        _add_lightgbm(table, tree["tree_structure"], number % targets, scale / share)
    return table, [0.0] * targets


def _best_end(model: Any, booster: Any, trained: dict[str, Any]) -> int:
    best = getattr(model, "best_iteration", None) if hasattr(model, "get_booster") else None
    if best is None and booster.attr("best_iteration") is not None:
        best = int(booster.attr("best_iteration"))
    if best is None:
        return len(trained["trees"])
    ends = trained.get("iteration_indptr")
    return int(ends[best + 1]) if ends else len(trained["trees"])


def _add_xgboost(table: TreeTable, tree: dict[str, Any], target: int) -> None:
    if any(tree.get("split_type", ())) or int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        raise NotImplementedError("no exact form of XGBoost's native categories or vector leaves")
    rows = zip(tree["left_children"], tree["right_children"], tree["split_indices"], tree["split_conditions"],
               tree["default_left"], strict=True)  # fmt: skip
    for node, (left, right, feature, value, missing) in enumerate(rows):
        if left < 0:
            table.leaf(node, [_rounded(value)], target)
        else:
            table.branch(node, feature, _rounded(value), left, right, bool(missing), mode="BRANCH_LT")
    table.trees += 1


def _rounded(value: float) -> float:
    """Return the single-precision number that a decimal text stands for."""
    import numpy as np

    return float(np.float32(value))


def _add_lightgbm(table: TreeTable, root: dict[str, Any], target: int, scale: float) -> None:
    if "leaf_const" in root:
        raise NotImplementedError("no exact form of linear leaves")
    spare = 1
    rest = [(0, root)]
    while rest:
        number, node = rest.pop()
        if "split_feature" not in node:
            table.leaf(number, [float(node["leaf_value"]) * scale], target)
            continue
        if node["missing_type"] == "Zero":
            raise NotImplementedError("no exact form of LightGBM's zeros as missing values")
        left, right, spare = spare, spare + 1, spare + 2
        feature = int(node["split_feature"])
        if node["decision_type"] == "<=":
            value = float(node["threshold"])
            # Without a missing type, LightGBM reads a missing value as zero.
            missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else value >= 0.0
            table.branch(number, feature, value, left, right, missing, mode="BRANCH_LEQ")
        else:
            values = [float(text) for text in str(node["threshold"]).split("||")]
            for position, value in enumerate(values):
                last = position == len(values) - 1
                table.branch(number, feature, value, left, right if last else spare, False, mode="BRANCH_EQ")
                if not last:
                    number, spare = spare, spare + 1
        rest += [(left, node["left_child"]), (right, node["right_child"])]
    table.trees += 1

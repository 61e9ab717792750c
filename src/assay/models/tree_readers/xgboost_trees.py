"""Trees of XGBoost, by the JSON that ``Booster.save_raw`` documents: intercept, dropout weights, categories included."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import UnsupportedError
from assay.models.trees import TreeBuilder, TreeEnsemble, TreeReader, pieces_of, single_cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.trees import Link

_SOFT = ("multi:softprob", "multi:softmax")
_LOGISTIC = ("binary:logistic", "reg:logistic")


class XgboostTrees(TreeReader, name="xgboost"):
    """Trees that compare ``value < threshold`` and add in single precision."""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is an XGBoost classifier or booster."""
        return type(model).__module__.startswith("xgboost.")

    @classmethod
    def read(cls, model: Any) -> TreeEnsemble:
        """Return the trees. Raises UnsupportedError for linear boosters, other objectives and text categories."""
        if not math.isnan(getattr(model, "missing", math.nan)):
            raise UnsupportedError("a missing value other than NaN has no exact form", remedy="Fit with missing=nan")
        booster = model.get_booster() if hasattr(model, "get_booster") else model
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        booked, objective = learner["gradient_booster"], learner["objective"]["name"]
        if booked["name"] not in {"gbtree", "dart"} or objective not in (*_SOFT, *_LOGISTIC):
            raise UnsupportedError(
                f"XGBoost's {booked['name']} with {objective} has no exact form", remedy="Use trees that classify"
            )
        trained = booked["model"] if booked["name"] == "gbtree" else booked["gbtree"]["model"]
        outputs = max(1, int(learner["learner_model_param"]["num_class"])) if objective in _SOFT else 1
        end = _end(model, booster, trained)
        drop = np.array(booked.get("weight_drop", [1.0] * len(trained["trees"])), dtype=np.float32)
        builder = TreeBuilder(outputs)
        for tree, target, weight in zip(trained["trees"][:end], trained["tree_info"][:end], drop[:end], strict=True):
            _add(builder, tree, int(target), weight)
        link: Link = "softmax" if objective in _SOFT else "logistic"
        return builder.build(
            width=int(learner["learner_model_param"]["num_feature"]), classes=max(2, outputs),
            base=_base(learner["learner_model_param"]["base_score"], link, outputs), link=link, single=True,
        )  # fmt: skip


def _base(text: str, link: Link, outputs: int) -> NDArray[np.float64]:
    """Return the scores that the trees are added to, from the text of ``base_score``: one number or a list."""
    written = np.array([np.float32(part) for part in str(text).strip("[]").split(",")])
    if link == "logistic":
        # XGBoost keeps the intercept as a probability, and takes its logit in single precision.
        written = -np.log(np.float32(1.0) / written - np.float32(1.0))
    return np.broadcast_to(written.astype(np.float64), (outputs,))


def _end(model: Any, booster: Any, trained: dict[str, Any]) -> int:
    """Return the number of trees in use: those up to the best iteration, where fitting stopped early."""
    best = getattr(model, "best_iteration", None) if _stopped_early(model, booster) else None
    if best is None:
        return len(trained["trees"])
    return int(trained["iteration_indptr"][int(best) + 1])


def _stopped_early(model: Any, booster: Any) -> bool:
    return hasattr(model, "get_booster") and booster.attr("best_iteration") is not None


def _add(builder: TreeBuilder, tree: dict[str, Any], target: int, weight: np.float32) -> None:
    left = np.array(tree["left_children"], dtype=np.intp)
    right = np.array(tree["right_children"], dtype=np.intp)
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    leaf = left < 0
    value = np.zeros((len(left), builder.outputs))
    size = int(tree["tree_param"].get("size_leaf_vector", "1"))
    if size > 1:
        weights = np.array(tree["leaf_weights"], dtype=np.float32).reshape(-1, size)
        value[leaf] = weights[right[leaf]] * weight
    else:
        value[leaf, target] = conditions[leaf] * weight
    builder.tree(
        np.where(leaf, -1, tree["split_indices"]), single_cut(conditions, strict=True), left, right,
        np.array(tree["default_left"], dtype=bool), value, _categories(tree),
    )  # fmt: skip


def _categories(tree: dict[str, Any]) -> dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Return the pieces of nodes that split by categories: those that are listed go right."""
    made = {}
    spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, start, size in spans:
        cuts, side = pieces_of(tree["categories"][start : start + size], single=True)
        made[int(node)] = (cuts, ~side)
    return made

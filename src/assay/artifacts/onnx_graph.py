"""An exact ONNX form of common scikit-learn classifiers: double arithmetic, missing values and categories included.

Each estimator that is known has one rule; ``exact_graph`` raises NotImplementedError for any other, and the caller
falls back to a general converter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from assay.artifacts.onnx_trees import TreeTable, add_histogram_tree, add_tree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OPSET = 17


class Graph:
    """An ONNX graph being written: nodes and constants, each under a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], *, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, value: Any) -> str:
        """Add a constant array and return its name."""
        import numpy as np
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def doubles(self, name: str) -> str:
        """Return ``name`` cast to double."""
        from onnx import TensorProto

        return self.node("Cast", [name], to=TensorProto.DOUBLE)


def exact_graph(model: Any, width: int) -> bytes:
    """Return the ONNX bytes of a fitted classifier: ``input`` double (n, width) -> ``label``, ``probabilities``.

    Raises NotImplementedError that names the step which has no exact form.
    """
    import numpy as np
    from onnx import TensorProto, checker, helper

    graph = Graph()
    probabilities = graph.node("Identity", [_classify(graph, model, "input", width)], output="probabilities")
    classes = np.asarray(model.classes_)
    kind = TensorProto.STRING if classes.dtype.kind in "OUS" else TensorProto.INT64
    table = graph.constant(classes.astype(object) if kind == TensorProto.STRING else classes.astype(np.int64))
    best = graph.node("ArgMax", [probabilities], axis=1, keepdims=0)
    graph.node("Gather", [table, best], output="label", axis=0)
    made = helper.make_model(
        helper.make_graph(
            graph.nodes, "assay",
            [helper.make_tensor_value_info("input", TensorProto.DOUBLE, [None, width])],
            [
                helper.make_tensor_value_info("label", kind, [None]),
                helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, len(classes)]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8, producer_name="assay",
    )  # fmt: skip
    checker.check_model(made)
    encoded: bytes = made.SerializeToString(deterministic=True)
    return encoded


def _classify(graph: Graph, model: Any, name: str, width: int) -> str:
    """Write a classifier and return the name of its probabilities."""
    if hasattr(model, "onnx_bytes"):
        return _own(graph, model, name)
    steps = getattr(model, "steps", None)
    if steps is not None:
        for _, step in steps[:-1]:
            name, width = _transform(graph, step, name, width)
        return _classify(graph, steps[-1][1], name, width)
    rule = _CLASSIFIERS.get(type(model).__name__)
    if rule is None or not type(model).__module__.startswith(("sklearn.", "xgboost.", "lightgbm.", "assay.")):
        raise NotImplementedError(f"no exact form of {type(model).__name__}")
    return rule(graph, model, name, width)


def _own(graph: Graph, model: Any, name: str) -> str:
    """Write the graph that an estimator brings along, in single precision, behind what comes before it."""
    from onnx import TensorProto, compose, load_model_from_string

    held = load_model_from_string(model.onnx_bytes())
    if [(o.domain, o.version) for o in held.opset_import] != [("", _OPSET)]:
        raise NotImplementedError(f"no exact form of the operators of {type(model).__name__} behind other steps")
    part = compose.add_prefix(held, "own_").graph
    graph.node("Cast", [name], output="own_input", to=TensorProto.FLOAT)
    graph.nodes += part.node
    graph.constants += part.initializer
    return graph.doubles("own_probabilities")


def _linear(graph: Graph, model: Any, name: str, width: int) -> str:
    del width
    if getattr(model, "multi_class", "auto") == "ovr":
        raise NotImplementedError("no exact form of one-vs-rest regression")
    product = graph.node("MatMul", [name, graph.constant(model.coef_.T.astype("float64"))])
    return _squash(graph, graph.node("Add", [product, graph.constant(model.intercept_.astype("float64"))]), model)


def _forest(graph: Graph, model: Any, name: str, width: int) -> str:
    del width
    members = [model] if hasattr(model, "tree_") else model.estimators_
    table = TreeTable(len(model.classes_))
    for member in members:
        add_tree(table, member.tree_, 1.0 / len(members))
    return _trees(graph, table, _single(graph, name), [0.0] * table.targets)


def _gradient_boosting(graph: Graph, model: Any, name: str, width: int) -> str:
    import numpy as np

    if model.init is not None and model.init != "zero":
        raise NotImplementedError("no exact form of gradient boosting on another model")
    members = model.estimators_
    table = TreeTable(members.shape[1])
    for row in members:
        for target, member in enumerate(row):
            add_tree(table, member.tree_, model.learning_rate, target)
    zero = np.zeros((1, width))
    added = [sum(model.learning_rate * m.predict(zero)[0] for m in members[:, k]) for k in range(table.targets)]
    base = np.atleast_1d(model.decision_function(zero)[0]) - np.asarray(added)
    return _squash(graph, _trees(graph, table, _single(graph, name), base.tolist()), model)


def _histogram(graph: Graph, model: Any, name: str, width: int) -> str:
    import numpy as np

    # Fitted histogram trees have no public form; the parity check on real rows guards against a change of it.
    columns, categories = list(range(width)), []
    encoder = model._preprocessor.named_transformers_["encoder"] if model._preprocessor is not None else None  # noqa: SLF001
    if encoder is not None:
        native = np.asarray(model.is_categorical_, dtype=bool)
        columns = [*np.flatnonzero(native).tolist(), *np.flatnonzero(~native).tolist()]
        categories = [np.asarray(c, dtype=np.float64) for c in encoder.categories_]
    table = TreeTable(model.n_trees_per_iteration_)
    for row in model._predictors:  # noqa: SLF001
        for target, predictor in enumerate(row):
            add_histogram_tree(table, predictor, target, columns, categories)
    base = np.ravel(model._baseline_prediction).tolist()  # noqa: SLF001
    return _squash(graph, _trees(graph, table, name, base), model)


def _xgboost(graph: Graph, model: Any, name: str, width: int) -> str:
    from assay.artifacts.onnx_boosting import xgboost_trees

    del width
    if not math.isnan(getattr(model, "missing", math.nan)):
        raise NotImplementedError("no exact form of a missing value other than NaN")
    table, base = xgboost_trees(getattr(model, "native", model))
    return _squash(graph, _trees(graph, table, _single(graph, name), base), model)


def _lightgbm(graph: Graph, model: Any, name: str, width: int) -> str:
    from assay.artifacts.onnx_boosting import lightgbm_trees

    del width
    table, base = lightgbm_trees(getattr(model, "native", model))
    return _squash(graph, _trees(graph, table, name, base), model)


def _trees(graph: Graph, table: TreeTable, name: str, base: list[float]) -> str:
    return graph.doubles(graph.node("TreeEnsembleRegressor", [name], domain="ai.onnx.ml", **table.attributes(base)))


def _single(graph: Graph, name: str) -> str:
    """Round to single precision and back, as ``sklearn.tree`` does with its inputs."""
    from onnx import TensorProto

    return graph.doubles(graph.node("Cast", [name], to=TensorProto.FLOAT))


def _squash(graph: Graph, scores: str, model: Any) -> str:
    """Return probabilities from scores: logistic for two classes, softmax for more."""
    import numpy as np

    if len(model.classes_) > 2:
        return graph.node("Softmax", [scores], axis=1)
    positive = graph.node("Sigmoid", [scores])
    negative = graph.node("Sub", [graph.constant(np.ones((1, 1))), positive])
    return graph.node("Concat", [negative, positive], axis=1)


def _transform(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    """Write a transformer; return the name of its output and its width."""
    if isinstance(step, str) or step is None:
        if step in {"passthrough", None}:
            return name, width
        raise NotImplementedError(f"no exact form of {step!r}")
    if hasattr(step, "steps"):
        for _, inner in step.steps:
            name, width = _transform(graph, inner, name, width)
        return name, width
    rule = _TRANSFORMERS.get(type(step).__name__)
    if rule is None or not type(step).__module__.startswith(("sklearn.", "assay.")):
        raise NotImplementedError(f"no exact form of {type(step).__name__}")
    return rule(graph, step, name, width)


def _columns(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    import numpy as np

    parts, total = [], 0
    for _, inner, chosen in step.transformers_:
        index = np.arange(width)[chosen] if not _named(chosen) else None
        if index is None:
            raise NotImplementedError("no exact form of columns chosen by name")
        if len(index) == 0 or (isinstance(inner, str) and inner == "drop"):
            continue
        part = graph.node("Gather", [name, graph.constant(np.atleast_1d(index).astype(np.int64))], axis=1)
        part, size = _transform(graph, inner, part, len(index))
        parts.append(part)
        total += size
    if step.transformer_weights:
        raise NotImplementedError("no exact form of transformer weights")
    return graph.node("Concat", parts, axis=1), total


def _named(chosen: Any) -> bool:
    return isinstance(chosen, str) or (isinstance(chosen, (list, tuple)) and any(isinstance(c, str) for c in chosen))


def _imputer(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    import numpy as np

    statistics = np.asarray(step.statistics_, dtype=np.float64)
    if step.add_indicator or np.isnan(statistics).any() or step.missing_values == step.missing_values:
        raise NotImplementedError("no exact form of this imputer")
    missing = graph.node("IsNaN", [name])
    return graph.node("Where", [missing, graph.constant(statistics[None, :]), name]), width


def _bounds(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    """Write the indicators of equal parts of bounds; what is missing lies in no part."""
    import numpy as np

    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), width) for end in step.bounds)
    bins = np.broadcast_to(np.asarray(step.bins, dtype=np.int64), width)
    share = graph.node("Div", [graph.node("Sub", [name, graph.constant(low)]), graph.constant(high - low)])
    place = graph.node("Floor", [graph.node("Mul", [share, graph.constant(bins.astype(np.float64))])])
    # Min and Max of ONNX hand on what is missing, as numpy's do.
    place = graph.node("Min", [graph.node("Max", [place, graph.constant(np.zeros(1))]), graph.constant(bins - 1.0)])
    spread = graph.node("Gather", [place, graph.constant(np.repeat(np.arange(width), bins))], axis=1)
    parts = np.concatenate([np.arange(count, dtype=np.float64) for count in bins])
    same = graph.node("Equal", [spread, graph.constant(parts)])
    return graph.doubles(same), len(parts)


def _scaler(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    shift = next((getattr(step, a) for a in ("mean_", "center_") if getattr(step, a, None) is not None), None)
    if shift is not None:
        name = graph.node("Sub", [name, graph.constant(shift[None, :].astype("float64"))])
    if step.scale_ is not None:
        name = graph.node("Div", [name, graph.constant(step.scale_[None, :].astype("float64"))])
    return name, width


def _min_max(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    if step.clip:
        raise NotImplementedError("no exact form of a clipping scaler")
    scaled = graph.node("Mul", [name, graph.constant(step.scale_[None, :].astype("float64"))])
    return graph.node("Add", [scaled, graph.constant(step.min_[None, :].astype("float64"))]), width


def _one_hot(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    import numpy as np

    if step.handle_unknown not in {"ignore", "error"} or step.min_frequency is not None or step.max_categories:
        raise NotImplementedError("no exact form of one-hot encoding with infrequent categories")
    parts, total = [], 0
    for column in range(width):
        part, count = _equals(graph, name, column, np.asarray(step.categories_[column], dtype=np.float64))
        dropped = None if step.drop_idx_ is None else step.drop_idx_[column]
        if dropped is not None:
            kept = np.delete(np.arange(count), int(dropped)).astype(np.int64)
            part, count = graph.node("Gather", [part, graph.constant(kept)], axis=1), count - 1
        parts.append(part)
        total += count
    return graph.node("Concat", parts, axis=1), total


def _ordinal(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    import numpy as np

    unknown, missing = step.unknown_value, step.encoded_missing_value
    if step.min_frequency is not None or step.max_categories or np.dtype(step.dtype) != np.float64:
        raise NotImplementedError("no exact form of ordinal encoding with infrequent categories")
    parts = []
    for column in range(width):
        values = np.asarray(step.categories_[column], dtype=np.float64)
        part, count = _equals(graph, name, column, values)
        kept = bool(np.isnan(values).any() and np.isnan(missing))
        codes = np.where(np.isnan(values), 0.0 if kept else np.float64(missing), np.arange(count, dtype=np.float64))
        shift = 0.0 if unknown is None else float(unknown)
        if np.isnan(shift):
            raise NotImplementedError("no exact form of ordinal encoding that makes unknown values missing")
        # One category matches, or none, which is the unknown one.
        code = graph.node("MatMul", [part, graph.constant((codes - shift)[:, None])])
        code = graph.node("Add", [code, graph.constant(np.asarray([[shift]]))])
        if kept:
            one = graph.node("Gather", [name, graph.constant(np.asarray([column], dtype=np.int64))], axis=1)
            missed = graph.node("IsNaN", [one])
            code = graph.node("Where", [missed, graph.constant(np.asarray([[np.nan]])), code])
        parts.append(code)
    return graph.node("Concat", parts, axis=1), width


def _function(graph: Graph, step: Any, name: str, width: int) -> tuple[str, int]:
    del graph
    if step.func is not None:
        raise NotImplementedError("no exact form of a function of one's own")
    return name, width


def _equals(graph: Graph, name: str, column: int, values: NDArray[np.float64]) -> tuple[str, int]:
    """Return 1.0 where a column equals each of ``values`` (NaN equals NaN), and their number."""
    import numpy as np

    one = graph.node("Gather", [name, graph.constant(np.asarray([column], dtype=np.int64))], axis=1)
    same = graph.node("Equal", [one, graph.constant(np.where(np.isnan(values), np.inf, values)[None, :])])
    if np.isnan(values).any():
        both = graph.node("And", [graph.node("IsNaN", [one]), graph.constant(np.isnan(values)[None, :])])
        same = graph.node("Or", [same, both])
    return graph.doubles(same), len(values)


_CLASSIFIERS: dict[str, Callable[[Graph, Any, str, int], str]] = {
    "LogisticRegression": _linear,
    "DecisionTreeClassifier": _forest,
    "RandomForestClassifier": _forest,
    "ExtraTreesClassifier": _forest,
    "GradientBoostingClassifier": _gradient_boosting,
    "HistGradientBoostingClassifier": _histogram,
    "XGBClassifier": _xgboost,
    "XGBRFClassifier": _xgboost,
    "XgboostFile": _xgboost,
    "LGBMClassifier": _lightgbm,
    "LightgbmFile": _lightgbm,
}
_TRANSFORMERS: dict[str, Callable[[Graph, Any, str, int], tuple[str, int]]] = {
    "BoundsEncoder": _bounds,
    "ColumnTransformer": _columns,
    "FunctionTransformer": _function,
    "SimpleImputer": _imputer,
    "StandardScaler": _scaler,
    "RobustScaler": _scaler,
    "MinMaxScaler": _min_max,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
}

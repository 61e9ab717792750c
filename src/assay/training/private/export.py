"""Private classifiers as ONNX graphs: one input ``input`` (n, d) in float32, outputs ``label`` and ``probabilities``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import UnsupportedError
from assay.training.private import pictures
from assay.training.private.scaling import Scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPSET = 17


class Graph:
    """A graph that grows node by node; each method returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Return the name of a constant."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, **options: Any) -> str:
        """Return the name of the output of an operator."""
        from onnx import helper

        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **options))
        return name

    def finish(self, width: int, scores: str, classes: NDArray[Any]) -> bytes:
        """Return the model's bytes: softmax over ``scores`` (n, k) and the class of the largest."""
        from onnx import TensorProto, checker, helper

        probabilities = self.node("Softmax", scores, axis=1)
        best = self.node("ArgMax", scores, axis=1, keepdims=0)
        whole = np.issubdtype(classes.dtype, np.integer)
        label = self.node("Gather", self.constant(classes, np.int64), best, axis=0) if whole else best
        self._nodes += [
            helper.make_node("Identity", [label], ["label"]), helper.make_node("Identity", [probabilities], ["probabilities"]),
        ]  # fmt: skip
        graph = helper.make_graph(
            self._nodes, "assay",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", width])],
            [helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
             helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(classes)])],
            self._constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        checker.check_model(model)
        made: bytes = model.SerializeToString(deterministic=True)
        return made


def dense_onnx(scaling: Scaling, layers: list[NDArray[np.float32]], width: int, classes: NDArray[Any]) -> bytes:
    """Return the graph of a scaled dense network, whose layers (out, in + 1) hold their biases last."""
    graph = Graph()
    value = scale(graph, "input", scaling, width)
    for number, layer in enumerate(layers):
        weights, bias = graph.constant(layer[:, :-1].T), graph.constant(layer[:, -1])
        value = graph.node("Gemm", value, weights, bias)
        if number < len(layers) - 1:
            value = graph.node("Relu", value)
    return graph.finish(width, value, classes)


def scale(graph: Graph, value: str, scaling: Scaling, width: int) -> str:
    """Return the name of the scaled rows, as ``Scaling.apply`` makes them."""
    if scaling.bounds is not None:
        low, high = (np.broadcast_to(np.asarray(end, np.float64), width) for end in scaling.bounds)
        slope, shift = graph.constant(2 / (high - low)), graph.constant((low + high) / (high - low))
        value = graph.node("Sub", graph.node("Mul", value, slope), shift)
        value = graph.node("Clip", value, graph.constant(-1.0), graph.constant(1.0))
    if scaling.image is not None:
        value = edges(graph, value, scaling.image)
    if scaling.unit_rows:
        value = graph.node("Sub", value, graph.node("ReduceMean", value, axes=[1], keepdims=1))
    length = 1.0 if scaling.row_norm is None else scaling.row_norm
    if scaling.features or scaling.row_norm is not None:
        norms = graph.node("ReduceL2", value, axes=[1], keepdims=1)
        reach = graph.constant(1.0 if scaling.features else length)
        factor = graph.node("Div", reach, graph.node("Max", norms, graph.constant(1e-30)))
        if not scaling.unit_rows:
            factor = graph.node("Min", factor, graph.constant(1.0))
        value = graph.node("Mul", value, factor)
    if scaling.features:
        turns, offsets = scaling.turns(width if scaling.image is None else pictures.widths_of(scaling.image))
        waves = graph.node("Cos", graph.node("Gemm", value, graph.constant(turns), graph.constant(offsets)))
        value = graph.node("Mul", waves, graph.constant(length * (2 / scaling.features) ** 0.5))
    return value


def edges(graph: Graph, value: str, image: tuple[int, int]) -> str:
    """Return the name of the pictures' features, as ``pictures.edges`` makes them."""
    shaped = graph.node("Reshape", value, graph.constant([-1, 1, *image], np.int64))
    padded = graph.node("Pad", shaped, graph.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), mode="edge")
    differences = np.zeros((2, 1, 3, 3))
    differences[0, 0, 1], differences[1, 0, :, 1] = [-1, 0, 1], [-1, 0, 1]
    slope = graph.node("Conv", padded, graph.constant(differences))
    strength = graph.node("ReduceL2", slope, axes=[1], keepdims=1)
    along = graph.node("Conv", slope, graph.constant(pictures.turns()[:, :, None, None]))
    share = graph.node("Div", graph.node("Relu", along), graph.node("Max", strength, graph.constant(pictures.TINY)))
    maps = graph.node("Mul", graph.node("Pow", share, graph.constant(float(pictures.SHARPNESS))), strength)
    window = np.broadcast_to(np.outer(pictures.WINDOW, pictures.WINDOW), (pictures.DIRECTIONS, 1, 4, 4))
    sums = graph.node(
        "Conv", maps, graph.constant(window), strides=[2, 2], pads=[1, 1, 1, 1], group=pictures.DIRECTIONS
    )
    return graph.node("Flatten", graph.node("Sqrt", sums), axis=1)


def trees_onnx(
    features: NDArray[np.intp], thresholds: NDArray[np.float64], values: NDArray[np.float64], width: int,
    classes: NDArray[Any],
) -> bytes:  # fmt: skip
    """Return the graph of boosted trees: features, thresholds (trees, depth) and leaf values (trees, leaves, columns)."""
    trees, depth = features.shape
    if trees * depth > 1 << 20:
        raise UnsupportedError("the trees have more than 2^20 splits", remedy="Train fewer trees")
    graph = Graph()
    picked = graph.node("Gather", "input", graph.constant(features.ravel(), np.int64), axis=1)
    # A float32 above the rounded-down threshold is above the threshold itself.
    cut = _rounded_down(thresholds.ravel())
    bits = graph.node("Cast", graph.node("Greater", picked, graph.constant(cut)), to=1)
    grouped = graph.node("Reshape", bits, graph.constant([-1, trees, depth], np.int64))
    leaf = graph.node("MatMul", grouped, graph.constant((1 << np.arange(depth))[:, None]))
    leaf = graph.node("Reshape", graph.node("Cast", leaf, to=7), graph.constant([-1, trees], np.int64))
    place = graph.node("Add", leaf, graph.constant(np.arange(trees) << depth, np.int64))
    table = values.reshape(-1, values.shape[2])
    if values.shape[2] == 1:
        table = np.concatenate([np.zeros_like(table), table], axis=1)
    gathered = graph.node("Gather", graph.constant(table), place, axis=0)
    return graph.finish(width, graph.node("ReduceSum", gathered, graph.constant([1], np.int64), keepdims=0), classes)


def _rounded_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)

"""Networks as certificates read them: affine maps and activations in turn, in float64, whatever they were made with.

Convolutions, pooling, normalisation and scaling are affine and become sparse matrices, so that one set of bounds
serves dense and convolutional networks and scikit-learn's alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]

ACTIVATIONS = ("relu", "tanh", "logistic")


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """x -> weight @ x + bias. weight: a scipy sparse matrix (out, in); bias (out,). fan: most terms of one sum."""

    weight: Any
    bias: Array
    fan: int

    @classmethod
    def of(cls, weight: Any, bias: Array) -> Affine:
        """Return the map of a dense or sparse matrix."""
        from scipy.sparse import csr_matrix

        held = csr_matrix(weight, dtype=np.float64)
        return cls(held, np.asarray(bias, dtype=np.float64), int(np.diff(held.indptr).max(initial=0)) + 1)

    def then(self, other: Affine) -> Affine:
        """Return this map followed by ``other`` as one; ``fan`` stays that of both sums, as the model computes them."""
        return Affine(other.weight @ self.weight, other.weight @ self.bias + other.bias, self.fan + other.fan)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Affine maps with one activation between each two: ``len(affine) == len(activations) + 1``. It ends in logits.

    unit: the relative rounding error of one operation of the model as it is run: 2^-24 in float32, 2^-53 in float64.
    """

    affine: tuple[Affine, ...]
    activations: tuple[str, ...]
    unit: float

    @property
    def classes(self) -> int:
        """Number of logits."""
        return len(self.affine[-1].bias)

    def logits(self, x: Array) -> Array:
        """Return the logits (n, classes) of flat rows x (n, d)."""
        out = x
        for number, map_ in enumerate(self.affine):
            out = out @ map_.weight.T + map_.bias
            if number < len(self.activations):
                out = activate(self.activations[number], out)
        return out


def activate(kind: str, x: Array) -> Array:
    """Return an activation of x: one of ``ACTIVATIONS``."""
    if kind == "relu":
        return np.maximum(x, 0.0)
    if kind == "tanh":
        return np.tanh(x)
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def read_network(predictor: Predictor, shape: tuple[int, ...]) -> Network:
    """Return the network behind a predictor for samples of ``shape``. Raises UnsupportedError for what it cannot read.

    torch: sequences of Linear, Conv2d, AvgPool2d, BatchNorm, ReLU, Tanh, Sigmoid, Flatten, Unflatten, Dropout, with or
    without Softmax at the end. scikit-learn: MLPClassifier and linear classifiers, also behind scalers in a Pipeline.
    """
    model: Any = getattr(predictor, "module", None) or getattr(predictor, "model", None)
    model = getattr(model, "module_", model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _join(_torch_stages(model, shape), _unit(model))
    if model is not None and hasattr(model, "predict_proba"):
        return _join(_sklearn_stages(model), 2.0**-53)
    raise UnsupportedError(
        f"the layers of a {type(predictor).__name__} cannot be read", remedy="Give a torch module or an MLPClassifier"
    )


Stage = Affine | str


def _join(stages: list[Stage], unit: float) -> Network:
    affine: list[Affine] = []
    activations: list[str] = []
    for stage in stages:
        if isinstance(stage, str):
            if len(affine) != len(activations) + 1:
                raise UnsupportedError(f"{stage} stands where a certificate expects an affine layer")
            activations.append(stage)
        elif len(affine) == len(activations) + 1:
            affine[-1] = affine[-1].then(stage)
        else:
            affine.append(stage)
    if len(affine) != len(activations) + 1:
        raise UnsupportedError("the network does not end in logits", remedy="Leave the last activation to the loss")
    return Network(tuple(affine), tuple(activations), unit)


def _sklearn_stages(model: Any) -> list[Stage]:
    steps = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    stages: list[Stage] = [_scaler(step) for step in steps[:-1]]
    last = steps[-1]
    if hasattr(last, "coefs_") and hasattr(last, "out_activation_"):
        return stages + _perceptron(last)
    if hasattr(last, "coef_") and hasattr(last, "intercept_") and hasattr(last, "classes_"):
        return [*stages, *_two([Affine.of(np.atleast_2d(last.coef_), np.atleast_1d(last.intercept_))])]
    raise UnsupportedError(f"a {type(last).__name__} is no network", remedy="Give an MLPClassifier or a linear model")


def _scaler(step: Any) -> Affine:
    """Return a fitted scaler of scikit-learn as an affine map."""
    from scipy.sparse import diags

    kind = type(step).__name__
    if kind == "StandardScaler":
        width = step.n_features_in_
        factor = np.ones(width) if step.scale_ is None else 1.0 / np.asarray(step.scale_)
        shift = np.zeros(width) if step.mean_ is None else -np.asarray(step.mean_) * factor
    elif kind == "MinMaxScaler" and not step.clip:
        factor, shift = np.asarray(step.scale_), np.asarray(step.min_)
    else:
        raise UnsupportedError(f"a {kind} before the network cannot be read", remedy="Use StandardScaler, or none")
    return Affine.of(diags(factor), shift)


def _perceptron(model: Any) -> list[Stage]:
    if model.activation not in (*ACTIVATIONS, "identity") or model.out_activation_ not in ("logistic", "softmax"):
        raise UnsupportedError(f"activation {model.activation} cannot be bounded")
    stages: list[Stage] = []
    for weight, bias in zip(model.coefs_, model.intercepts_, strict=True):
        stages.append(Affine.of(weight.T, bias))
        if model.activation != "identity":
            stages.append(model.activation)
    return _two(stages[:-1] if model.activation != "identity" else stages)


def _two(stages: list[Stage]) -> list[Stage]:
    """Return stages with two logits where a binary classifier has one."""
    last = stages[-1]
    if isinstance(last, Affine) and len(last.bias) == 1:
        stages.append(Affine.of(np.array([[0.0], [1.0]]), np.zeros(2)))
    return stages


def _unit(module: Any) -> float:
    """Return the rounding error of the module's numbers. Raises UnsupportedError for those shorter than float32."""
    size = min((p.element_size() for p in module.parameters()), default=4)
    if size < 4:
        raise UnsupportedError(
            "roundings of numbers shorter than float32 are not bounded", remedy="Call module.float()"
        )
    return 2.0**-24 if size == 4 else 2.0**-53


def _torch_stages(module: Any, shape: tuple[int, ...]) -> list[Stage]:
    torch: Any = sys.modules["torch"]
    nn = torch.nn
    flat = list(_leaves(module, nn))
    if flat and isinstance(flat[-1], (nn.Softmax, nn.LogSoftmax)):
        flat = flat[:-1]  # it keeps the order of the logits
    readers: dict[Any, Callable[[Any, tuple[int, ...]], tuple[list[Stage], tuple[int, ...]]]] = {
        nn.Linear: _linear, nn.Conv2d: _convolution, nn.AvgPool2d: _pooling, nn.BatchNorm1d: _normalisation,
        nn.BatchNorm2d: _normalisation, nn.Flatten: _flatten, nn.Unflatten: _unflatten,
    }  # fmt: skip
    names = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "logistic"}
    stages: list[Stage] = []
    for layer in flat:
        if isinstance(layer, (nn.Identity, nn.Dropout, nn.Dropout2d)):
            continue
        name = names.get(type(layer))
        if name is not None:
            stages.append(name)
            continue
        reader = next((r for kind, r in readers.items() if isinstance(layer, kind)), None)
        if reader is None:
            raise UnsupportedError(
                f"a layer {type(layer).__name__} cannot be bounded",
                remedy="Use sequences of Linear, Conv2d, AvgPool2d, BatchNorm, ReLU, Tanh and Sigmoid",
            )
        made, shape = reader(layer, shape)
        stages += made
    return stages


def _leaves(module: Any, nn: Any) -> Any:
    """Yield the layers of nested sequences in order; another container is yielded whole, and refused by its name."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _leaves(child, nn)
    else:
        yield module


def _array(tensor: Any) -> Array:
    made: Array = tensor.detach().cpu().double().numpy()
    return made


def _linear(layer: Any, shape: tuple[int, ...]) -> tuple[list[Stage], tuple[int, ...]]:
    if len(shape) != 1 or shape[0] != layer.in_features:
        raise UnsupportedError(f"a Linear layer of {layer.in_features} inputs follows values of shape {shape}")
    weight = _array(layer.weight)
    bias = np.zeros(len(weight)) if layer.bias is None else _array(layer.bias)
    return [Affine.of(weight, bias)], (len(weight),)


def _convolution(layer: Any, shape: tuple[int, ...]) -> tuple[list[Stage], tuple[int, ...]]:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or len(shape) != 3:
        raise UnsupportedError("only convolutions of images with a number of zeros around them can be bounded")
    weight = _array(layer.weight)
    made, out = _windows(weight, shape, layer.stride, layer.padding, layer.dilation, layer.groups)
    bias = np.zeros(len(weight)) if layer.bias is None else _array(layer.bias)
    return [Affine.of(made, np.repeat(bias, out[1] * out[2]))], out


def _pooling(layer: Any, shape: tuple[int, ...]) -> tuple[list[Stage], tuple[int, ...]]:
    size, stride, padding = (
        v if isinstance(v, tuple) else (v, v) for v in (layer.kernel_size, layer.stride, layer.padding)
    )
    edges = any(padding) and not layer.count_include_pad
    if len(shape) != 3 or layer.ceil_mode or edges or layer.divisor_override is not None:
        raise UnsupportedError("only plain average pooling can be bounded")
    channels = shape[0]
    weight = np.full((channels, 1, *size), 1.0 / (size[0] * size[1]))
    made, out = _windows(weight, shape, stride, padding, (1, 1), channels)
    return [Affine.of(made, np.zeros(int(np.prod(out))))], out


def _windows(
    weight: Array, shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int],
    dilation: tuple[int, int], groups: int,
) -> tuple[Any, tuple[int, int, int]]:  # fmt: skip
    """Return a convolution as a sparse matrix and the shape of its answer. weight (out, in / groups, kh, kw)."""
    from scipy.sparse import coo_matrix

    outs, per, kh, kw = weight.shape
    channels, height, width = shape
    place = np.full((channels, height + 2 * padding[0], width + 2 * padding[1]), -1, dtype=np.int64)
    place[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width] = np.arange(
        channels * height * width
    ).reshape(shape)
    tall = (place.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    wide = (place.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    rows, columns, values = [], [], []
    spots = np.arange(tall * wide)
    for o in range(outs):
        base = o // (outs // groups) * per
        for c in range(per):
            for i in range(kh):
                for j in range(kw):
                    seen = place[base + c, i * dilation[0] :: stride[0], j * dilation[1] :: stride[1]][:tall, :wide]
                    inside = seen.ravel() >= 0
                    rows.append(o * tall * wide + spots[inside])
                    columns.append(seen.ravel()[inside])
                    values.append(np.full(int(inside.sum()), weight[o, c, i, j]))
    made = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(outs * tall * wide, channels * height * width),
    )
    return made, (outs, tall, wide)


def _normalisation(layer: Any, shape: tuple[int, ...]) -> tuple[list[Stage], tuple[int, ...]]:
    from scipy.sparse import diags

    if layer.running_mean is None or layer.training:
        raise UnsupportedError("normalisation by the batch itself cannot be bounded", remedy="Use evaluation mode")
    factor = 1.0 / np.sqrt(_array(layer.running_var) + layer.eps)
    if layer.weight is not None:
        factor = factor * _array(layer.weight)
    shift = -_array(layer.running_mean) * factor + (0.0 if layer.bias is None else _array(layer.bias))
    each = int(np.prod(shape[1:], dtype=int))
    return [Affine.of(diags(np.repeat(factor, each)), np.repeat(shift, each))], shape


def _flatten(layer: Any, shape: tuple[int, ...]) -> tuple[list[Stage], tuple[int, ...]]:
    if layer.start_dim != 1 or layer.end_dim != -1:
        raise UnsupportedError("only whole samples can be flattened")
    return [], (int(np.prod(shape)),)


def _unflatten(layer: Any, shape: tuple[int, ...]) -> tuple[list[Stage], tuple[int, ...]]:
    if layer.dim != 1 or len(shape) != 1:
        raise UnsupportedError("only whole samples can be given a shape")
    return [], tuple(int(v) for v in layer.unflattened_size)

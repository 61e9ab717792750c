"""scikit-learn's linear models and multi-layer perceptrons from inside, in closed form, scalers and all.

What an estimator computes is read from its documented attributes (``coef_``, ``coefs_``, ``mean_``, ``scale_`` ...)
and then held against its own answers on random rows; what does not agree is not differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.core.errors import UnsupportedError
from assay.models.white_box import NumpyWhiteBox

if TYPE_CHECKING:
    from assay.models.predictor import Array, Predictor

_ROWS = 32
_AGREES = 1e-6
# How far the rows lie on which a model is held against its attributes, in units of its scaler.
_REACHES = (1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: ``activation(x @ weights + bias)``, weights (d, h), bias (h,)."""

    weights: Array
    bias: Array
    activation: str = "identity"


class Dense(NumpyWhiteBox):
    """Layers one after the other; a single output is the log odds of the second of two classes."""

    def __init__(self, predictor: Predictor, layers: tuple[Layer, ...]) -> None:
        super().__init__(predictor)
        self._layers = layers

    def _logits(self, x: Array) -> Array:
        return self._forward(x)[-1]

    def _pull(self, x: Array, weigh: Callable[[Array], Array]) -> tuple[Array, Array]:
        outputs = self._forward(x)
        logits = outputs.pop()
        slope: Array = weigh(logits)
        if outputs[-1].shape[1] == 1:
            slope = 0.5 * (slope[:, 1:] - slope[:, :1])
        for layer, output in zip(reversed(self._layers), reversed(outputs), strict=True):
            slope = (slope * _SLOPES[layer.activation](output)) @ layer.weights.T
        return logits, slope.reshape(x.shape)

    def _forward(self, x: Array) -> list[Array]:
        """Return the output of each layer, and last the logits."""
        value, outputs = x.reshape(len(x), -1), []
        for layer in self._layers:
            value = _ACTIVATIONS[layer.activation](value @ layer.weights + layer.bias)
            outputs.append(value)
        return [*outputs, value if value.shape[1] > 1 else self.xp.concatenate([-0.5 * value, 0.5 * value], axis=1)]


def dense(model: Any, predictor: Predictor) -> Dense:
    """Return a fitted estimator from inside: linear, perceptron, or either behind steps that scale or rotate.

    Raises UnsupportedError for any other, and for one whose answers are not those of its attributes.
    """
    import numpy as np

    layers = _layers(model)
    if layers is None:
        raise UnsupportedError(
            f"a {type(model).__name__} gives no gradients",
            remedy="Use a black-box attack, or a linear model, an MLPClassifier or a torch module",
        )
    made = Dense(predictor, layers)
    width = len(layers[0].weights)
    middle, reach = _typical(model, width)
    drawn = np.random.default_rng(0).standard_normal((len(_REACHES), _ROWS, width))
    rows = (middle + reach * drawn * np.array(_REACHES)[:, None, None]).reshape(-1, width)
    logits = made._logits(rows)  # noqa: SLF001 - unasked: the comparison is no query of an attack
    asked: Any = model.predict_proba if hasattr(model, "predict_proba") else model.decision_function
    answer = np.asarray(asked(rows), dtype=np.float64)
    if hasattr(model, "predict_proba"):
        agrees = answer.shape == logits.shape and _same_order(answer, logits)
    else:
        ours = logits[:, 1] - logits[:, 0] if answer.ndim == 1 else logits
        agrees = answer.shape == ours.shape and bool(np.allclose(answer, ours, rtol=_AGREES, atol=_AGREES))
    if not agrees:
        raise UnsupportedError(
            f"the answers of this {type(model).__name__} are not those of its coefficients",
            remedy="Use a black-box attack",
        )
    return made


def _same_order(answer: Array, logits: Array) -> bool:
    """Return whether probabilities are the softmax of the logits, or rise with each of them, as shares of one-vs-rest do."""
    import numpy as np

    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    if np.allclose(answer, raised / raised.sum(axis=1, keepdims=True), rtol=_AGREES, atol=_AGREES):
        return True
    surer = np.take_along_axis(answer, np.argsort(logits, axis=1, kind="stable"), axis=1)
    return bool((np.diff(surer, axis=1) >= -_AGREES).all() and (np.ptp(answer, axis=1) > 0).any())


def _layers(model: Any) -> tuple[Layer, ...] | None:
    """Return what a fitted estimator computes, or None where its attributes do not tell."""
    import numpy as np

    steps = getattr(model, "steps", None)
    if steps is not None:
        before = [_affine(step) for _, step in steps[:-1] if step not in (None, "passthrough")]
        last = _layers(steps[-1][1])
        if last is None or any(part is None for part in before):
            return None
        return _merged([part for part in before if part is not None], last)
    if hasattr(model, "coefs_") and hasattr(model, "intercepts_"):
        inner = [Layer(w, b, model.activation) for w, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True)]
        return (*inner, Layer(model.coefs_[-1], model.intercepts_[-1]))
    coef = getattr(model, "coef_", None)
    if coef is None or not hasattr(model, "intercept_") or not hasattr(model, "decision_function"):
        return None
    weights = np.atleast_2d(np.asarray(coef.toarray() if hasattr(coef, "toarray") else coef, dtype=np.float64))
    bias = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(weights),))
    return (Layer(weights.T, bias),) if weights.ndim == 2 else None


def _affine(step: Any) -> Layer | None:
    """Return a fitted transformer as a layer without activation, or None for one that is not affine."""
    import numpy as np

    if getattr(step, "clip", False):
        return None
    if hasattr(step, "components_") and hasattr(step, "mean_"):
        weights = np.asarray(step.components_).T
        if getattr(step, "whiten", False):
            weights = weights / np.sqrt(step.explained_variance_)
        return Layer(weights, -np.asarray(step.mean_) @ weights)
    if hasattr(step, "min_") and hasattr(step, "scale_"):
        return Layer(np.diag(step.scale_), np.asarray(step.min_))
    if not hasattr(step, "scale_"):
        return None
    centred = getattr(step, "with_mean", True) and getattr(step, "with_centering", True)
    centre: Any = getattr(step, "mean_", getattr(step, "center_", None)) if centred else None
    if step.scale_ is None and centre is None:
        return None
    width = len(centre if step.scale_ is None else step.scale_)
    scale = np.ones(width) if step.scale_ is None else np.asarray(step.scale_, dtype=np.float64)
    shift = np.zeros(width) if centre is None else np.asarray(centre, dtype=np.float64)
    return Layer(np.diag(1.0 / scale), -shift / scale)


def _merged(before: list[Layer], last: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers with all affine steps in front put into the first."""
    first = last[0]
    for part in reversed(before):
        first = Layer(part.weights @ first.weights, part.bias @ first.weights + first.bias, first.activation)
    return (first, *last[1:])


def _typical(model: Any, width: int) -> tuple[Array, Array]:
    """Return where rows lie and how far they spread, each (width,), as the first scaler has learnt it."""
    import numpy as np

    for _, step in getattr(model, "steps", ()):
        part = _affine(step)
        if part is not None and part.weights.shape == (width, width) and np.diag(part.weights).all():
            inverse = 1.0 / np.diag(part.weights)
            return -part.bias * inverse, np.abs(inverse)
        break
    return np.zeros(width), np.ones(width)


def _sigmoid(z: Array) -> Array:
    import numpy as np

    half: Array = 0.5 * (1.0 + np.tanh(0.5 * z))
    return half


def _tanh(z: Array) -> Array:
    import numpy as np

    made: Array = np.tanh(z)
    return made


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "relu": lambda z: z.clip(0.0, None),
    "tanh": _tanh,
    "logistic": _sigmoid,
}
# Derivatives by what goes in, of what comes out.
_SLOPES: dict[str, Callable[[Array], Array | float]] = {
    "identity": lambda _: 1.0,
    "relu": lambda out: (out > 0).astype(float),
    "tanh": lambda out: 1.0 - out * out,
    "logistic": lambda out: out * (1.0 - out),
}

"""Dense networks in numpy whose per-row gradients are clipped without ever being made.

The gradient of one row for a layer is the outer product of what comes back and what went in, so its norm is the product
of theirs, and the sum of clipped gradients is one matrix product (Goodfellow 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from assay.core.errors import DataError
from assay.training.private.clipping import Clipping

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]


class DenseNet:
    """Layers of widths d, h1, ..., k with ReLU between and softmax cross-entropy at the end; float32.

    Every layer's weights (out, in + 1) hold its bias as last column and are a view of one flat vector ``weights``.
    """

    __slots__ = ("layers", "weights", "widths")

    def __init__(self, widths: Sequence[int], uniform: Callable[[int], NDArray[np.float64]] | None = None) -> None:
        """Start at zero, or at weights uniform within 1 / sqrt(in) when ``uniform`` gives numbers in (0, 1)."""
        self.widths = tuple(widths)
        shapes = [(o, i + 1) for i, o in zip(self.widths, self.widths[1:], strict=False)]
        self.weights: Array = np.zeros(sum(o * i for o, i in shapes), np.float32)
        self.layers: list[Array] = views(self.weights, shapes)
        if uniform is not None:
            for layer in self.layers:
                out, width = layer.shape
                layer[:, :-1] = (2 * uniform(out * (width - 1)).reshape(out, -1) - 1) / np.sqrt(width - 1)

    def outputs(self, x: Array) -> NDArray[np.float64]:
        """Return the scores (n, k) of rows x (n, d + 1), whose last column is 1; summed in float64."""
        wide = x.astype(np.float64)
        for layer in self.layers[:-1]:
            wide = np.pad(np.maximum(wide @ layer.T, 0.0), ((0, 0), (0, 1)), constant_values=1.0)
        return np.asarray(wide @ self.layers[-1].T)

    def clipped_sum(
        self, x: Array, target: Array, squares: Array, clip: Clipping, bound: float, out: Array
    ) -> tuple[Array, Array]:
        """Write the sum of clipped gradients over rows to ``out`` (like ``weights``); return squared norms and factors.

        x: (n, d + 1) with a last column of 1; target: (n, k) one-hot; squares: (n,) squared norms of the rows of x.
        """
        into = [x]
        for layer in self.layers[:-1]:
            into.append(_hidden(into[-1], layer))
        back = softmax(into[-1] @ self.layers[-1].T)
        back -= target
        backs = [back]
        for number in range(len(self.layers) - 1, 0, -1):
            back = back @ self.layers[number][:, :-1]
            back *= into[number][:, :-1] > 0
            backs.append(back)
        backs.reverse()
        norms = np.empty((len(x), len(backs)), np.float32)
        for number, (a, b) in enumerate(zip(into, backs, strict=True)):
            size = squares if number == 0 else np.einsum("ij,ij->i", a, a)
            np.multiply(np.einsum("ij,ij->i", b, b), size, out=norms[:, number])
        factors = clip.factors(norms, bound)
        for number, (a, b, view) in enumerate(
            zip(into, backs, views(out, [w.shape for w in self.layers]), strict=True)
        ):
            np.multiply(b, factors[:, number % factors.shape[1], None], out=b)
            np.matmul(b.T, a, out=view)
        return norms, factors


def with_ones(x: NDArray[np.floating]) -> Array:
    """Return rows (n, d) as float32 with a last column of 1. Raises DataError for values that float32 does not have."""
    out = np.ones((len(x), x.shape[1] + 1), np.float32)
    with np.errstate(over="ignore"):
        out[:, :-1] = x
    if not np.isfinite(out).all():
        raise DataError("a row holds a value beyond what float32 has", remedy="Give bounds of the features")
    return out


def views(flat: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Return views of the shapes, one after the other, of a flat vector."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [flat[end - int(np.prod(shape)) : end].reshape(shape) for end, shape in zip(ends, shapes, strict=True)]


def _hidden(x: Array, layer: Array) -> Array:
    out = np.empty((len(x), len(layer) + 1), np.float32)
    np.matmul(x, layer.T, out=out[:, :-1])
    np.maximum(out[:, :-1], 0.0, out=out[:, :-1])
    out[:, -1] = 1.0
    return out


def softmax(scores: Array) -> Array:
    """Return the probabilities (n, k) of scores."""
    scores = scores - scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores

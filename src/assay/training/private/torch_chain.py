"""Clipped gradient sums of dense layers and activations one after the other, without hooks and without autograd.

On the CPU the arrays are numpy's, which share their memory with the tensors: a call costs a third of torch's, and small
networks are little but calls. Elsewhere they are tensors. Only names that both share are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from assay.core.errors import DataError
from assay.training.private.dense import softmax

if TYPE_CHECKING:
    from torch import Tensor

    from assay.training.private.clipping import Clipping

# Of each activation: its answer, and what comes back through it from what came to it and its answer.
_ACTIVATIONS: dict[type[nn.Module], tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    nn.ReLU: (lambda xp, a: xp.clip(a, 0, None), lambda back, out: back * (out > 0)),
    nn.Tanh: (lambda xp, a: xp.tanh(a), lambda back, out: back * (1 - out * out)),
    nn.Sigmoid: (lambda xp, a: 1 / (1 + xp.exp(-a)), lambda back, out: back * (out * (1 - out))),
}


def chain_of(module: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Return names and layers of a module that is dense layers and activations in a row, None for another."""
    found = []
    for name, layer in module.named_modules(remove_duplicate=False):
        if type(layer) is nn.Sequential or type(layer) is nn.Identity:
            continue
        flat = isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)
        if not (flat or type(layer) is nn.Linear or type(layer) in _ACTIVATIONS):
            return None
        found.append((f"{name}." if name else "", layer))
    return found


def chain_sum(
    chain: list[tuple[str, nn.Module]], x: Tensor, slope: Callable[[Any, Any], Any], clip: Clipping, bound: float,
    total: dict[str, Tensor],
) -> Tensor | None:  # fmt: skip
    """Write the clipped sum to ``total`` and return squared norms (n, layers).

    slope: of the losses by the answers (n, k), from the library and these. None, and nothing written, where rows
    (n, ...) reach a dense layer as more than a vector each.
    """
    xp, held = (np, _shared) if x.device.type == "cpu" else (torch, _still)
    outputs = [held(x)]
    for _, layer in chain:
        into = outputs[-1]
        if isinstance(layer, nn.Linear):
            if into.ndim != 2:
                return None
            dense: Any = layer
            out = into @ held(dense.weight).T
            if dense.bias is not None:
                out += held(dense.bias)
        else:
            out = (
                into.reshape(len(into), -1) if isinstance(layer, nn.Flatten) else _ACTIVATIONS[type(layer)][0](xp, into)
            )
        outputs.append(out)
    pairs = _backwards(chain, outputs, slope(xp, outputs[-1]), held)
    lengths = []
    for _, layer, back, into in pairs:
        along = _lengths(into)
        lengths.append(_lengths(back) * (along if layer.bias is None else along + 1))
    squares = xp.stack(lengths, 1)
    factors = clip.factors(squares, bound)
    for number, (name, layer, back, into) in enumerate(pairs):
        share = factors[:, number % factors.shape[1]]
        xp.matmul((back * share[:, None]).T, into, out=held(total[f"{name}weight"]))
        if layer.bias is not None:
            xp.matmul(back.T, share, out=held(total[f"{name}bias"]))
    return torch.as_tensor(squares)


def softmax_slope(xp: Any, answers: Any, targets: Tensor) -> Any:
    """Return the derivative of the cross-entropy by logits (n, k), targets (n,) from 0 to k - 1. Raises DataError."""
    if xp is torch:
        there = torch.softmax(answers, 1)
        return there.scatter_add_(1, targets[:, None], there.new_full((len(there), 1), -1.0))
    shares, classes = softmax(answers), targets.numpy()
    if classes.dtype.kind not in "iu" or classes.min() < 0 or classes.max() >= shares.shape[1]:
        raise DataError(
            f"targets from {classes.min()} to {classes.max()} ({classes.dtype}) are not all among {shares.shape[1]} classes",
            remedy="Give whole numbers from 0 on, less than the number of logits",
        )
    shares[np.arange(len(shares)), classes] -= 1
    return shares


def _backwards(
    chain: list[tuple[str, nn.Module]], outputs: list[Any], back: Any, held: Callable[[Tensor], Any]
) -> list[tuple[str, Any, Any, Any]]:
    """Return of each dense layer its name, itself, what came back to it and what had gone in, the first layer first."""
    found: list[tuple[str, Any, Any, Any]] = []
    dense = sum(isinstance(layer, nn.Linear) for _, layer in chain)
    for number in range(len(chain) - 1, -1, -1):
        name, layer = chain[number]
        if isinstance(layer, nn.Linear):
            found.append((name, layer, back, outputs[number]))
            if len(found) == dense:
                break
            back = back @ held(layer.weight)
        elif not isinstance(layer, nn.Flatten):
            back = _ACTIVATIONS[type(layer)][1](back, outputs[number + 1])
    return found[::-1]


def _lengths(rows: Any) -> Any:
    """Return squared lengths (n,)."""
    return np.einsum("ij,ij->i", rows, rows) if isinstance(rows, np.ndarray) else rows.square().sum(1)


def _shared(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _still(tensor: Tensor) -> Tensor:
    return tensor.detach()

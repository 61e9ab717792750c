"""Intervals carried through a network while it trains, so that its certificates by intervals come out tight."""

from __future__ import annotations

from typing import Any

import torch

from assay.core.errors import UnsupportedError
from assay.training.robust.ball import Tensor

_MONOTONE = (torch.nn.ReLU, torch.nn.Tanh, torch.nn.Sigmoid)
_ALIKE = (torch.nn.Flatten, torch.nn.Unflatten, torch.nn.Identity)


def interval_logits(module: torch.nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds (n, classes) of the logits over boxes between ``low`` and ``high`` (n, ...). Gowal et al. 2018.

    For sequences of Linear, Conv2d, AvgPool2d, frozen BatchNorm, ReLU, Tanh, Sigmoid, Flatten and Unflatten. Raises
    UnsupportedError for other layers.
    """
    for layer in _layers(module):
        if isinstance(layer, (*_MONOTONE, *_ALIKE)):
            low, high = layer(low), layer(high)
        else:
            middle, half = layer((low + high) / 2), _spread(layer, (high - low) / 2)
            low, high = middle - half, middle + half
    return low, high


def _spread(layer: Any, half: Tensor) -> Tensor:
    """Return by how much the answer of an affine layer can move when its input moves by ``half``."""
    functional, nn = torch.nn.functional, torch.nn
    made: Tensor
    if isinstance(layer, nn.Linear):
        made = functional.linear(half, layer.weight.abs())
    elif isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        made = functional.conv2d(
            half, layer.weight.abs(), None, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    elif isinstance(layer, nn.AvgPool2d):
        made = layer(half)
    elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and not layer.training:
        norm: Any = layer
        factor = (norm.running_var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight.abs())
        made = half * factor.reshape(1, -1, *[1] * (half.dim() - 2))
    else:
        raise UnsupportedError(
            f"intervals cannot be carried through a layer {type(layer).__name__}",
            remedy="Use Linear, Conv2d, AvgPool2d, ReLU, Tanh, Sigmoid, or another method",
        )
    return made


def _layers(module: torch.nn.Module) -> list[torch.nn.Module]:
    if isinstance(module, torch.nn.Sequential):
        return [leaf for child in module for leaf in _layers(child)]
    return [module]

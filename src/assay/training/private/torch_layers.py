"""Per-row gradients of torch layers in closed form: their norms, and the sum of clipped ones, from what went in and came back.

Dense layers on plain rows need no per-row gradient at all (Goodfellow 2015); for sequences and convolutions the cheaper
of a Gram product (Li et al. 2022; Bu et al. 2022) and of the small per-row gradient is taken; embeddings compare
positions. Whatever has no closed form here is left to ``torch.func``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    Pair: TypeAlias = tuple[int, ...]

# What an entry of a per-row gradient costs to write and read again, in multiplications.
_TOUCHED = {"cpu": 8, "cuda": 64}

KNOWN: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, nn.LayerNorm, nn.GroupNorm)


def closed_form(module: nn.Module) -> bool:
    """Return whether every layer that holds parameters has a closed form here."""
    owners = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    return all(type(m) in KNOWN and _plain(m) for m in owners)


def _plain(layer: nn.Module) -> bool:
    if not {name for name, _ in layer.named_parameters(recurse=False)} <= {"weight", "bias"}:
        return False  # what it multiplies by is made of other parameters, as weight normalisation does
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.Embedding):
        return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
    return True


@dataclass(frozen=True, slots=True)
class Grads:
    """What a layer's per-row gradients are known by: squared norms (n,), and how to sum them with weights.

    kind: ``outer`` (into (n, i), back (n, o)), ``places`` (into (n, g, t, i), back (n, g, t, o)), ``rows`` (weight
    (n, ...), bias (n, o)) or ``lookup`` (index (n, t), back (n, t, e)). A kernel's channels come last in i.
    """

    layer: nn.Module
    squares: Tensor
    kind: str
    parts: tuple[Tensor | None, ...]

    def weighted_sum(self, factors: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """Write the sum of per-row gradients times ``factors`` (n,) to ``weight`` and ``bias``, like the layer's own."""
        first, second = self.parts
        assert first is not None
        if isinstance(self.layer, (nn.Conv1d, nn.Conv2d)):
            weight = weight.movedim(1, -1)
        if self.kind == "rows":
            weight.copy_(torch.mv(first.flatten(1).T, factors).view(weight.shape))
            if bias is not None and second is not None:
                torch.mv(second.flatten(1).T, factors, out=bias.view(-1))
            return
        assert second is not None
        scaled = second * factors.reshape(-1, *[1] * (second.dim() - 1))
        if self.kind == "outer":
            torch.mm(scaled.T, first, out=weight)
            if bias is not None:
                torch.sum(scaled, 0, out=bias)
        elif self.kind == "places":
            lined, across = (part.transpose(0, 1).flatten(1, 2) for part in (scaled, first))
            weight.copy_(torch.bmm(lined.transpose(1, 2), across).view(weight.shape))
            if bias is not None:
                torch.sum(lined, 1, out=bias.view(lined.shape[0], -1))
        else:
            weight.zero_().index_add_(0, first.reshape(-1), scaled.reshape(-1, scaled.shape[-1]))


def grads_of(layer: nn.Module, into: Tensor, back: Tensor) -> Grads:
    """Return the per-row gradients of a layer from its input and the gradient at its output, rows first."""
    if isinstance(layer, nn.Linear):
        return _linear(layer, into, back)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return _convolution(layer, into, back)
    if isinstance(layer, nn.Embedding):
        return _embedding(layer, into, back)
    return _norm(layer, into, back)


def _linear(layer: nn.Linear, into: Tensor, back: Tensor) -> Grads:
    bias = layer.bias is not None
    if into.dim() == 2:
        squares = back.square().sum(1)
        lengths = into.square().sum(1)
        squares = torch.addcmul(squares, squares, lengths) if bias else squares * lengths
        return Grads(layer, squares, "outer", (into, back))
    return _places(layer, into.flatten(1, -2)[:, None], back.flatten(1, -2)[:, None], bias=bias)


def _convolution(layer: nn.Conv1d | nn.Conv2d, into: Tensor, back: Tensor) -> Grads:
    """Unfolded, a convolution is a dense layer on every position, with one weight for all."""
    kernel, stride, dilation, padding = (
        tuple(getattr(layer, name)) for name in ("kernel_size", "stride", "dilation", "padding")
    )
    if isinstance(layer, nn.Conv1d):
        into, back = into[:, :, None], back[:, :, None]
        kernel, stride, dilation, padding = (1, *kernel), (1, *stride), (1, *dilation), (0, *padding)
    size, groups = back.shape[2:], layer.groups
    grouped = back.reshape(len(back), groups, -1, size[0] * size[1]).transpose(2, 3)
    patches = windows(into, groups, kernel, stride, dilation, padding, size)
    return _places(layer, patches, grouped, bias=layer.bias is not None)


def windows(
    into: Tensor, groups: int, kernel: Pair, stride: Pair, dilation: Pair, padding: Pair, size: tuple[int, ...]
) -> Tensor:
    """Return what the kernel sees at each position, (n, groups, t, i): ``functional.unfold`` in one copy for all rows.

    With channels last, what lies side by side is copied in one piece.
    """
    padded = functional.pad(into, (padding[1], padding[1], padding[0], padding[0])).movedim(1, -1).contiguous()
    rows, down, across, _ = padded.stride()
    each = into.shape[1] // groups
    shape = (len(into), groups, size[0], size[1], kernel[0], kernel[1], each)
    steps = (each, stride[0] * down, stride[1] * across, dilation[0] * down, dilation[1] * across)
    return padded.as_strided(shape, (rows, *steps, 1)).reshape(len(into), groups, size[0] * size[1], -1)


def _places(layer: nn.Module, into: Tensor, back: Tensor, *, bias: bool) -> Grads:
    """A dense layer on every position: into (n, groups, t, i), back (n, groups, t, o)."""
    positions, inner, outer = into.shape[2], into.shape[3], back.shape[3]
    ones = back.sum(2).flatten(1) if bias else None
    touched = _TOUCHED["cuda" if into.is_cuda else "cpu"]
    if positions * positions * (inner + outer) > touched * inner * outer:
        return _rows(layer, torch.matmul(back.transpose(2, 3), into).flatten(1, 2), ones)
    pairs = torch.matmul(into, into.transpose(2, 3)) * torch.matmul(back, back.transpose(2, 3))
    squares = pairs.sum((1, 2, 3))
    if ones is not None:
        squares = squares + ones.square().sum(1)
    return Grads(layer, squares.clamp_min(0.0), "places", (into, back))


def _embedding(layer: nn.Embedding, index: Tensor, back: Tensor) -> Grads:
    index, back = index.reshape(len(index), -1), back.reshape(len(back), -1, back.shape[-1])
    if layer.padding_idx is not None:
        back = back * (index != layer.padding_idx)[:, :, None]
    same = (index[:, :, None] == index[:, None, :]).to(back.dtype)
    squares = (torch.matmul(back, back.transpose(1, 2)) * same).sum((1, 2))
    return Grads(layer, squares, "lookup", (index, back))


def _norm(layer: nn.Module, into: Tensor, back: Tensor) -> Grads:
    """Layer and group normalisation: the normalised input is computed again, without weights."""
    if isinstance(layer, nn.LayerNorm):
        still = functional.layer_norm(into, layer.normalized_shape, eps=layer.eps)
        keep = len(layer.normalized_shape)
        middle = tuple(range(1, into.dim() - keep))
        weight, bias = back * still, back
        if middle:
            weight, bias = weight.sum(middle), bias.sum(middle)
    else:
        assert isinstance(layer, nn.GroupNorm)
        still = functional.group_norm(into, layer.num_groups, eps=layer.eps)
        weight, bias = (back * still).flatten(2).sum(2), back.flatten(2).sum(2)
    held: Any = layer
    return _rows(layer, weight, bias if held.bias is not None else None)


def _rows(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> Grads:
    squares = torch.linalg.vector_norm(weight.flatten(1), dim=1).square()
    if bias is not None:
        squares = squares + bias.flatten(1).square().sum(1)
    return Grads(layer, squares, "rows", (weight, bias))

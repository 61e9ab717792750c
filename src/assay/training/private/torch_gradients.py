"""Clipped gradient sums of a torch module: by closed forms where every layer has one, else by ``torch.func``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from assay.core.errors import Refused, UnsupportedError
from assay.training.private.clipping import Clipping
from assay.training.private.torch_layers import KNOWN, Grads, closed_form, grads_of

if TYPE_CHECKING:
    from torch import Tensor

Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def check_module(module: nn.Module) -> None:
    """Refuse layers that mix rows or learn from them outside of gradients. Raises Refused with the layer and the remedy."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BATCH_NORMS):
            raise Refused(
                f"{type(layer).__name__} mixes the rows of a batch: one row then changes the gradients of all others",
                where=name or "the module", reason="batch-norm",
                remedy="Use GroupNorm or LayerNorm, which look at one row at a time",
            )  # fmt: skip
        if isinstance(layer, _INSTANCE_NORMS) and layer.track_running_stats:
            raise Refused(
                f"{type(layer).__name__} keeps running statistics of private rows, which are released without noise",
                where=name or "the module", reason="data-dependent-normaliser", remedy="Set track_running_stats=False",
            )  # fmt: skip


class Gradients:
    """The sum of clipped per-row gradients of ``loss(module(x), y)`` over a batch.

    way: ``auto``, ``closed`` or ``func``. loss: maps outputs (n, ...) and targets (n, ...) to losses (n,). Raises
    Refused for batch norm and the like, UnsupportedError when ``closed`` is asked for and a layer has no closed form.
    """

    def __init__(self, module: nn.Module, loss: Loss, *, way: str = "auto") -> None:
        check_module(module)
        self._module, self._loss = module, loss
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        shared = len(self.parameters) != len(
            [1 for _, p in module.named_parameters(remove_duplicate=False) if p.requires_grad]
        )
        frozen = any(not p.requires_grad for p in module.parameters())
        possible = closed_form(module) and not shared and not frozen
        if way == "closed" and not possible:
            raise UnsupportedError("a layer has no closed form of its per-row gradients", remedy='Use way="auto"')
        self.way = "closed" if possible and way != "func" else "func"
        self._places = {layer: name for name, layer in module.named_modules() if type(layer) in KNOWN}
        self._layers = [layer for layer in self._places if any(True for _ in layer.parameters())]

    def clipped_sum(self, x: Tensor, y: Tensor, clip: Clipping, bound: float) -> tuple[dict[str, Tensor], Tensor]:
        """Return the sum by parameter name, and squared norms (n, layers or 1). An empty batch sums to zeros."""
        if len(x) == 0:
            layers = max(len(self.parameters), 1)
            return {n: torch.zeros_like(p) for n, p in self.parameters.items()}, torch.zeros(0, layers)
        if self.way == "closed":
            seen = self._walk(x, y)
            if seen is not None:
                return self._combine(seen, clip, bound)
            self.way = "func"
        return self._by_func(x, y, clip, bound)

    def _walk(self, x: Tensor, y: Tensor) -> list[Grads] | None:
        """Run forwards and backwards once, without gradients of parameters; None when a layer is used twice."""
        seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        twice = False

        def note(layer: nn.Module, into: tuple[Any, ...], out: Tensor) -> Tensor:
            nonlocal twice
            twice |= layer in seen
            if not out.requires_grad:
                out.requires_grad_()
            seen[layer] = (into[0].detach(), out)
            return out

        handles = [layer.register_forward_hook(note) for layer in self._layers]
        try:
            with _frozen(self._module):
                losses = self._loss(self._module(x), y)
                backs = torch.autograd.grad(losses.sum(), [out for _, out in seen.values()])
        finally:
            for handle in handles:
                handle.remove()
        if twice:
            return None
        with torch.no_grad():
            return [grads_of(layer, into, back) for (layer, (into, _)), back in zip(seen.items(), backs, strict=True)]

    def _combine(self, seen: list[Grads], clip: Clipping, bound: float) -> tuple[dict[str, Tensor], Tensor]:
        with torch.no_grad():
            squares = torch.stack([g.squares for g in seen], 1)
            factors = torch.from_numpy(clip.factors(squares.numpy(), bound))
            total = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
            for number, found in enumerate(seen):
                place = self._places[found.layer]
                for name, value in found.weighted_sum(factors[:, number % factors.shape[1]]).items():
                    total[f"{place}.{name}" if place else name] = value
        return total, squares

    def _by_func(self, x: Tensor, y: Tensor, clip: Clipping, bound: float) -> tuple[dict[str, Tensor], Tensor]:
        held = {name: p.detach() for name, p in self.parameters.items()}
        rest = {n: p.detach() for n, p in self._module.named_parameters() if n not in held}

        def one(parameters: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
            return self._loss(functional_call(self._module, {**rest, **parameters}, (a[None],)), b[None]).sum()

        each = vmap(grad(one), in_dims=(None, 0, 0), randomness="different")(held, x, y)
        with torch.no_grad():
            owners = list(dict.fromkeys(name.rpartition(".")[0] for name in each))
            squares = torch.zeros(len(x), len(owners))
            for name, g in each.items():
                squares[:, owners.index(name.rpartition(".")[0])] += g.flatten(1).square().sum(1)
            factors = torch.from_numpy(clip.factors(squares.numpy(), bound))
            total = {
                name: torch.tensordot(factors[:, owners.index(name.rpartition(".")[0]) % factors.shape[1]], g, dims=1)
                for name, g in each.items()
            }
        return total, squares


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Hold parameters out of the backward pass, and activations out of place, for one pass."""
    live = [p for p in module.parameters() if p.requires_grad]
    changing = [m for m in module.modules() if getattr(m, "inplace", False)]
    for p in live:
        p.requires_grad_(False)
    for m in changing:
        setattr(m, "inplace", False)  # noqa: B010 - the attribute is that of some layers only
    try:
        yield
    finally:
        for p in live:
            p.requires_grad_(True)
        for m in changing:
            setattr(m, "inplace", True)  # noqa: B010


def to_numpy(total: dict[str, Tensor]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a sum of gradients as one flat vector, in the order of the parameters."""
    return torch.cat([value.reshape(-1) for value in total.values()]).numpy()

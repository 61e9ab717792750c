"""Clipped gradient sums of a torch module: by closed forms where every layer has one, else by ``torch.func``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from assay.core.errors import DataError, Refused, SettingError, UnsupportedError
from assay.training.private.clipping import Clipping
from assay.training.private.torch_chain import chain_of, chain_sum, softmax_slope
from assay.training.private.torch_layers import KNOWN, Grads, closed_form, grads_of

if TYPE_CHECKING:
    from torch import Tensor

# No target is left out for being -100, which torch does by default.
_NO_CLASS = -(2**31)
_WAYS = ("auto", "closed", "func")
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


def check_precision(parameters: list[nn.Parameter]) -> None:
    """Refuse numbers in which a clipping bound is held only roughly. Raises Refused for them and for several devices."""
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) != 1 or next(iter(kinds))[0] not in (torch.float32, torch.float64):
        raise Refused(
            "the trained weights are not all float32, or all float64, on one device",
            reason="reduced-precision", remedy="Call module.float() and module.to(device) before training",
        )  # fmt: skip
    (_, device) = next(iter(kinds))
    autocast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    if autocast or _products_are_rough():
        raise Refused(
            "matrix products in reduced precision make clipped gradients longer than their bound",
            reason="reduced-precision",
            remedy='Train outside of autocast, with torch.set_float32_matmul_precision("highest")',
        )


def _products_are_rough() -> bool:
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set for one backend by itself, which torch does so as to lower it
        return True


class Gradients:
    """The sum of clipped per-row gradients of ``loss(module(x), y)`` over a batch, on the module's device.

    way: ``auto``, ``closed`` or ``func``. loss: maps outputs (n, ...) and targets (n, ...) to losses (n,), None is the
    cross-entropy of logits (n, classes). Raises Refused for batch norm and the like, UnsupportedError when ``closed`` is
    asked for and a layer has no closed form, SettingError for another way.
    """

    def __init__(self, module: nn.Module, loss: Loss | None = None, *, way: str = "auto") -> None:
        if way not in _WAYS:
            raise SettingError(f"there is no way {way!r} to clip gradients", remedy=f"Use one of: {', '.join(_WAYS)}")
        check_module(module)
        self._module, self._loss, self._own = module, loss or cross_entropy, loss is None
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        possible = closed_form(module) and _each_once(module)
        if way == "closed" and not possible:
            raise UnsupportedError("a layer has no closed form of its per-row gradients", remedy='Use way="auto"')
        self.way = "closed" if possible and way != "func" else "func"
        self._names = {
            layer: tuple(f"{place}.{name}" if place else name for name in ("weight", "bias"))
            for place, layer in module.named_modules()
            if type(layer) in KNOWN and any(True for _ in layer.parameters())
        }
        self._chain = chain_of(module) if self.way == "closed" else None
        self._seen: list[tuple[nn.Module, Tensor, Tensor]] = []
        self._watched = False

    def empty(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a vector of zeros for all gradients, and its parts by parameter name, shaped as the parameters."""
        held = list(self.parameters.values())
        flat = torch.cat([torch.zeros_like(p).reshape(-1) for p in held]).detach()
        parts = torch.split(flat, [p.numel() for p in held])
        return flat, {name: part.view_as(p) for (name, p), part in zip(self.parameters.items(), parts, strict=True)}

    def clipped_sum(
        self, x: Tensor, y: Tensor, clip: Clipping, bound: float, out: dict[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the sum by parameter name, and squared norms (n, layers or 1). An empty batch sums to zeros.

        out: as of ``empty``, to be written to. Raises DataError when the loss does not give one number a row.
        """
        total = self.empty()[1] if out is None else out
        if len(x) == 0:
            for part in total.values():
                part.zero_()
            return total, next(iter(total.values())).new_zeros(0, max(len(total), 1))
        if self.way == "closed":
            squares = self._along(x, y, clip, bound, total)
            if squares is not None:
                return total, squares
            with self.watching():
                seen = self._walk(x, y)
            if seen is not None:
                return total, self._combine(seen, clip, bound, total)
            self.way = "func"
        return total, self._by_func(x, y, clip, bound, total)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See what goes through the layers while the context is open; activations then work out of place."""
        if self._watched or self._chain is not None or self.way != "closed":
            yield
            return
        changing = [m for m in self._module.modules() if getattr(m, "inplace", False)]
        handles = [layer.register_forward_hook(self._note) for layer in self._names]
        for m in changing:
            setattr(m, "inplace", False)  # noqa: B010 - the attribute is that of some layers only
        self._watched = True
        try:
            yield
        finally:
            self._watched = False
            for handle in handles:
                handle.remove()
            for m in changing:
                setattr(m, "inplace", True)  # noqa: B010

    def _note(self, layer: nn.Module, into: tuple[Any, ...], out: Tensor) -> None:
        self._seen.append((layer, into[0], out))

    def _along(self, x: Tensor, y: Tensor, clip: Clipping, bound: float, total: dict[str, Tensor]) -> Tensor | None:
        """Run along a chain of dense layers and back; None for another module or rows of another shape."""
        if self._chain is None:
            return None

        def slope(xp: Any, answers: Any) -> Any:
            if self._own and answers.ndim == 2 and y.dim() == 1:
                return softmax_slope(xp, answers, y)
            entry = torch.as_tensor(answers).requires_grad_()
            with torch.enable_grad():
                losses = _checked(self._loss(entry, y), len(x))
                found = torch.autograd.grad(losses, entry, torch.ones_like(losses))[0]
            return found if xp is torch else found.numpy()

        # In numpy as in torch: exp may overflow, and what is no number is for the trainer to find.
        with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
            squares = chain_sum(self._chain, x, slope, clip, bound, total)
        if squares is None:
            self._chain = None  # rows are no plain vectors: layers are watched instead
        return squares

    def _walk(self, x: Tensor, y: Tensor) -> list[Grads] | None:
        """Run forwards and backwards once, without gradients of parameters; None when a layer is used twice."""
        self._seen.clear()
        with torch.enable_grad():
            losses = _checked(self._loss(self._module(x), y), len(x))
            seen, self._seen = self._seen, []
            if len({layer for layer, _, _ in seen}) < len(seen):
                return None
            backs = torch.autograd.grad(losses, [out for _, _, out in seen], torch.ones_like(losses))
        with torch.no_grad():
            return [grads_of(layer, into, back) for (layer, into, _), back in zip(seen, backs, strict=True)]

    def _combine(self, seen: list[Grads], clip: Clipping, bound: float, total: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            squares = torch.stack([g.squares for g in seen], 1)
            if unused := len(self._names) - len(seen):
                # A layer that no row went through has its share of the bound all the same, as in every other way.
                squares = nn.functional.pad(squares, (0, unused))
                for part in total.values():
                    part.zero_()
            factors = clip.factors(squares, bound)
            columns = factors.unbind(1)
            for number, found in enumerate(seen):
                weight, bias = self._names[found.layer]
                found.weighted_sum(columns[number % len(columns)], total[weight], total.get(bias))
        return squares

    def _by_func(self, x: Tensor, y: Tensor, clip: Clipping, bound: float, total: dict[str, Tensor]) -> Tensor:
        held = {name: p.detach() for name, p in self.parameters.items()}
        rest = {n: p.detach() for n, p in self._module.named_parameters() if n not in held}

        def one(parameters: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
            losses = self._loss(functional_call(self._module, {**rest, **parameters}, (a[None],)), b[None])
            return _checked(losses, 1).sum()

        each = vmap(grad(one), in_dims=(None, 0, 0), randomness="different")(held, x, y)
        with torch.no_grad():
            owners = [name.rpartition(".")[0] for name in each]
            layers = list(dict.fromkeys(owners))
            squares = next(iter(held.values())).new_zeros(len(x), len(layers))
            for owner, g in zip(owners, each.values(), strict=True):
                squares[:, layers.index(owner)] += g.flatten(1).square().sum(1)
            factors = clip.factors(squares, bound)
            for owner, (name, g) in zip(owners, each.items(), strict=True):
                share = factors[:, layers.index(owner) % factors.shape[1]]
                torch.mv(g.flatten(1).T, share, out=total[name].view(-1))
        return squares


def cross_entropy(answers: Tensor, targets: Tensor) -> Tensor:
    """Return the losses (n,) of logits (n, classes, ...) for classes (n, ...), all of which count."""
    return nn.functional.cross_entropy(answers, targets, reduction="none", ignore_index=_NO_CLASS)


def _checked(losses: Tensor, rows: int) -> Tensor:
    if losses.shape != (rows,):
        raise DataError(
            f"the loss gives {tuple(losses.shape)} for {rows} rows: it mixes them, and clipping cannot tell them apart",
            remedy='Return one loss a row, as with reduction="none"',
        )
    return losses


def _each_once(module: nn.Module) -> bool:
    """Return whether every parameter is trained, and belongs to one layer alone."""
    every = [p for _, p in module.named_parameters(remove_duplicate=False)]
    return all(p.requires_grad for p in every) and len(every) == len(list(module.parameters()))

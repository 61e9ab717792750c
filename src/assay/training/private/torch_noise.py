"""The noise of private training as torch tensors: the cipher's bits, made normal where the gradients are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from assay.training.private.noise import BLOCK, Noise

if TYPE_CHECKING:
    from torch import Tensor

# Numbers made at once on an accelerator, to hide the cost of a copy.
_MANY = 1 << 18


def normals(noise: Noise, size: int, like: Tensor) -> Callable[[], Tensor]:
    """Return a function that gives (size,) standard normal numbers at a call, of the type and on the device of ``like``.

    On a CUDA device only the cipher's bits are copied there; elsewhere the numbers are those of ``Noise.normal``. Every
    number is given once.
    """
    device = like.device
    many = max(1, (_MANY if device.type == "cuda" else BLOCK) // size)
    held: list[Tensor] = []

    def take() -> Tensor:
        if not held:
            if device.type == "cuda":
                made = box_muller(noise, many * size, device)
            else:
                made = torch.from_numpy(noise.normal(many * size)).to(device)
            held.extend(made.to(like.dtype).view(many, size).unbind())
        return held.pop()

    return take


def box_muller(noise: Noise, count: int, device: torch.device) -> Tensor:
    """Return standard normal numbers (count,), float32, from the cipher's bits: as ``Noise.normal``, on ``device``."""
    half = (count + 1) // 2
    # torch has few operations on unsigned numbers: the sign of the first is masked, that of an angle does not matter.
    bits = _words(noise, half, torch.int64, device).bitwise_right_shift_(11).bitwise_and_(2**53 - 1)
    radius = bits.double().add_(0.5).mul_(2.0**-53).log_().mul_(-2.0).float().sqrt_()
    turn = _words(noise, half, torch.int32, device).float().mul_(2 * math.pi * 2.0**-32)
    return torch.cat([radius * turn.cos(), radius * turn.sin()])[:count]


def _words(noise: Noise, count: int, kind: torch.dtype, device: torch.device) -> Tensor:
    """Return bits of the cipher as whole numbers (count,) on a device; the copy to a GPU does not hold up the caller."""
    held = torch.empty(count, dtype=kind, pin_memory=device.type == "cuda")
    noise.fill(held.numpy())
    return held.to(device, non_blocking=True)

"""The ball of changes that training defends against, and the search for its worst point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Tensor: TypeAlias = torch.Tensor
Loss: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """All rows within ``radius`` of a row, in units of ``scale``, that stay between ``low`` and ``high``.

    norm: "linf" or "l2". low, high, scale: numbers, or tensors that broadcast to one sample; scale 0: never changes.
    """

    norm: str
    radius: float
    low: Tensor
    high: Tensor
    scale: Tensor

    def project(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the points of the ball around ``x0`` next to ``x``, both (n, ...)."""
        if self.norm == "linf":
            reach = self.radius * self.scale
            near = torch.maximum(torch.minimum(x, x0 + reach), x0 - reach)
        else:
            change = torch.where(self.scale > 0, (x - x0) / self.scale.clamp_min(1e-30), torch.zeros_like(x))
            length = _length(change)
            near = x0 + self.scale * change * (self.radius / length.clamp_min(1e-12)).clamp_max(1.0)
        # A row that starts outside the range may stay as far outside as it is.
        return torch.maximum(torch.minimum(near, torch.maximum(self.high, x0)), torch.minimum(self.low, x0))

    def start(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Return random points of the ball around ``x0``: uniform by value, or on a sphere of random radius."""
        if self.norm == "linf":
            noise = 2.0 * _random(torch.rand, x0, generator) - 1.0
            return self.project(x0 + self.radius * self.scale * noise, x0)
        noise = _random(torch.randn, x0, generator)
        size = _random(torch.rand, x0[:, :1].flatten(1)[:, :1], generator).reshape(-1, *[1] * (x0.dim() - 1))
        return self.project(x0 + self.scale * noise / _length(noise).clamp_min(1e-12) * self.radius * size, x0)

    def step(self, x: Tensor, slope: Tensor, size: float) -> Tensor:
        """Return ``x`` moved by ``size`` (in units of scale) up the slope of the loss, not yet projected."""
        if self.norm == "linf":
            return x + size * self.scale * slope.sign()
        steep = slope * self.scale
        return x + size * self.scale * steep / _length(steep).clamp_min(1e-12)


def slope_of(loss: Loss, x: Tensor) -> Tensor:
    """Return d(loss)/dx at ``x`` (n, ...), without touching the gradients of any parameter."""
    entry = x.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(entry), entry)
    return slope


def ascend(loss: Loss, x0: Tensor, ball: Ball, *, steps: int, size: float, generator: torch.Generator) -> Tensor:
    """Return points of the ball where ``loss`` is high, by projected gradient ascent from a random start.

    Madry et al. 2018. steps: gradients taken; size: of each move in units of scale.
    """
    x = ball.start(x0, generator)
    for _ in range(steps):
        x = ball.project(ball.step(x, slope_of(loss, x), size), x0)
    return x


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return length.reshape(-1, *[1] * (x.dim() - 1))


def _random(kind: Any, like: Tensor, generator: torch.Generator) -> Tensor:
    drawn: Tensor = kind(like.shape, generator=generator, device=generator.device, dtype=like.dtype)
    return drawn.to(like.device)

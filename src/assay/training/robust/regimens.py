"""How one batch is trained on: each regimen yields losses, and the weights take a step after each.

A regimen searches the ball around each row for a bad point and gives the loss that is to be lowered there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.nn import functional

from assay.training.robust.ball import Ball, Tensor, ascend, slope_of
from assay.training.robust.interval import interval_logits


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What a regimen works with. steps, size: of the ascent; beta: weight of the second term of TRADES.

    progress: share of the training that is done, for regimens that grow harder.
    """

    module: torch.nn.Module
    ball: Ball
    steps: int
    size: float
    beta: float
    generator: torch.Generator
    progress: float = 1.0


Regimen: TypeAlias = Callable[[Setting, Tensor, Tensor], Iterator[Tensor]]


def pgd(setting: Setting, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the cross-entropy at the worst points that ``steps`` of ascent find. Madry et al. 2018."""
    setting.module.eval()
    worst = ascend(
        lambda rows: functional.cross_entropy(setting.module(rows), y, reduction="sum"), x, setting.ball,
        steps=setting.steps, size=setting.size, generator=setting.generator,
    )  # fmt: skip
    setting.module.train()
    yield functional.cross_entropy(setting.module(worst), y)


def trades(setting: Setting, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield cross-entropy at the rows plus ``beta`` times the divergence at the most different points near them.

    Zhang et al. 2019.
    """
    setting.module.eval()
    with torch.no_grad():
        here = functional.log_softmax(setting.module(x), dim=1)
    worst = ascend(
        lambda rows: _divergence(setting.module(rows), here).sum(), x, setting.ball,
        steps=setting.steps, size=setting.size, generator=setting.generator,
    )  # fmt: skip
    setting.module.train()
    answers = setting.module(x)
    spread = _divergence(setting.module(worst), functional.log_softmax(answers, dim=1)).mean()
    yield functional.cross_entropy(answers, y) + setting.beta * spread


def fast(setting: Setting, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the cross-entropy after one signed step of 1.25 radii from a random start. Wong, Rice & Kolter 2020."""
    ball = setting.ball
    setting.module.eval()
    start = ball.start(x, setting.generator)
    slope = slope_of(lambda rows: functional.cross_entropy(setting.module(rows), y, reduction="sum"), start)
    worst = ball.project(ball.step(start, slope, 1.25 * ball.radius), x)
    setting.module.train()
    yield functional.cross_entropy(setting.module(worst), y)


def free(setting: Setting, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield ``steps`` losses on one batch; each backward pass serves the weights and the change alike.

    Shafahi et al. 2019.
    """
    ball = setting.ball
    worst = ball.start(x, setting.generator)
    for _ in range(setting.steps):
        worst = worst.detach().requires_grad_(True)
        setting.module.train()
        yield functional.cross_entropy(setting.module(worst), y)
        # The caller has gone backward by now, so the slope at this point is known.
        slope = torch.zeros_like(worst) if worst.grad is None else worst.grad
        worst = ball.project(ball.step(worst.detach(), slope, ball.radius), x)


def noise(setting: Setting, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the cross-entropy under Gaussian noise of one radius, what smoothing votes on. Cohen et al. 2019."""
    setting.module.train()
    yield functional.cross_entropy(setting.module(noisy(setting, x)), y)


def noisy(setting: Setting, x: Tensor) -> Tensor:
    """Return rows with Gaussian noise whose deviation is the radius of the ball, in units of its scale."""
    drawn = torch.randn(x.shape, generator=setting.generator, device=setting.generator.device, dtype=x.dtype)
    return x + setting.ball.radius * setting.ball.scale * drawn.to(x.device)


def interval(setting: Setting, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield a mean of the cross-entropy at the rows and at the worst logits that intervals leave open.

    Gowal et al. 2018 (IBP): the radius grows over the first half, and the weight of the worst logits to one half.
    """
    grown = min(1.0, 2.0 * setting.progress)
    setting.module.train()
    plain = functional.cross_entropy(setting.module(x), y)
    worst = functional.cross_entropy(worst_logits(setting.module, setting.ball, x, y, grown), y)
    yield (1.0 - 0.5 * grown) * plain + 0.5 * grown * worst


def worst_logits(module: torch.nn.Module, ball: Ball, x: Tensor, y: Tensor, grown: float = 1.0) -> Tensor:
    """Return logits (n, classes) that are as bad for labels y (n,) as intervals over ``grown`` of the ball leave open."""
    reach = grown * ball.radius * ball.scale
    low = torch.minimum(torch.maximum(x - reach, ball.low), x)
    high = torch.maximum(torch.minimum(x + reach, ball.high), x)
    least, most = interval_logits(module, low, high)
    return torch.where(functional.one_hot(y, least.shape[1]).bool(), least, most)


REGIMENS: dict[str, Regimen] = {
    "pgd": pgd, "trades": trades, "fast": fast, "free": free, "noise": noise, "interval": interval,
}  # fmt: skip


def alignment(setting: Setting, x: Tensor, y: Tensor) -> float:
    """Return how far slopes at the rows and at random points near them agree, as a mean cosine.

    It falls towards 0 when single-step training overfits to its own attack. Andriushchenko & Flammarion 2020.
    """

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(setting.module(rows), y, reduction="sum")

    setting.module.eval()
    near = setting.ball.start(x, setting.generator)
    cosine = functional.cosine_similarity(slope_of(loss, x).flatten(1), slope_of(loss, near).flatten(1))
    return float(cosine.mean())


def _divergence(answers: Tensor, here: Tensor) -> Tensor:
    """Return KL(here || there) of each row, (n,), from logits there and log-probabilities here."""
    there = functional.log_softmax(answers, dim=1)
    return (here.exp() * (here - there)).sum(dim=1)

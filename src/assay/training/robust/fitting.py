"""The training loop: schedule, weight averaging, the guard of single-step training, early stopping on robust accuracy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from assay.training.robust.ball import Ball, Tensor, ascend
from assay.training.robust.regimens import REGIMENS, Setting, alignment, noisy, worst_logits

_JUDGE_STEPS = 7
_LEAST_ALIGNMENT = 0.5
_CHECK_EVERY = 25


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast. patience: epochs without a better robust accuracy before training ends (None: never)."""

    method: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    averaging: float
    patience: int | None


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to. clean, robust: accuracy on the held-out rows, None when there are none."""

    number: int
    method: str
    loss: float
    clean: float | None
    robust: float | None


def fit(setting: Setting, plan: Plan, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor] | None) -> list[Epoch]:
    """Train ``setting.module`` in place and return what each epoch came to; the best epoch's weights are kept.

    train, held: rows (n, ...) and labels (n,). Without ``held`` the last epoch's weights are kept.
    """
    run = _Run(setting, plan, len(train[0]))
    history: list[Epoch] = []
    best, kept, since = -1.0, copy.deepcopy(run.averaged.state_dict()), 0
    for number in range(plan.epochs):
        loss = run.epoch(*train)
        clean, robust = _judge(run.averaged, setting, plan.method, held)
        history.append(Epoch(number, run.method, loss, clean, robust))
        since = 0 if robust is None or robust > best else since + 1
        if robust is None or robust >= best:
            # Of equals the later epoch, which has seen more.
            best = -1.0 if robust is None else robust
            kept = copy.deepcopy(run.averaged.state_dict())
        if plan.patience is not None and since >= plan.patience:
            break
    setting.module.load_state_dict(kept)
    setting.module.eval()
    return history


class _Run:
    """The state of one training: optimiser, schedule, averaged weights and the guard of single-step training."""

    def __init__(self, setting: Setting, plan: Plan, rows: int) -> None:
        self._setting, self._plan, self.method = setting, plan, plan.method
        self.averaged = copy.deepcopy(setting.module).eval()
        self._optimiser = torch.optim.AdamW(
            setting.module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        replays = setting.steps if plan.method == "free" else 1
        self._all = updates = max(2, plan.epochs * replays * -(-rows // plan.batch_size))
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, max_lr=plan.learning_rate, total_steps=updates + 1, pct_start=0.3
        )
        self._updates = 0
        self._first_alignment = 0.0
        self._good = copy.deepcopy(self._snapshot())

    def epoch(self, x: Tensor, y: Tensor) -> float:
        """Pass over the rows once; return the mean loss."""
        # The sum stays on the device: reading it would wait for each step.
        total, count = torch.zeros((), device=x.device), 0
        for rows in self._batches(len(x)):
            if self.method == "fast" and self._updates % _CHECK_EVERY == 0:
                self._guard(x[rows], y[rows])
            setting = replace(self._setting, progress=self._updates / self._all)
            for loss in REGIMENS[self.method](setting, x[rows], y[rows]):
                self._optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimiser.step()
                self._schedule.step()
                self._updates += 1
                self._average()
                total, count = total + loss.detach(), count + 1
        return float(total) / max(1, count)

    def _batches(self, n: int) -> Iterator[Tensor]:
        order = torch.randperm(n, generator=self._setting.generator, device=self._setting.generator.device)
        yield from torch.split(order, self._plan.batch_size)

    def _average(self) -> None:
        """Follow the weights by an exponential mean that forgets its start. Izmailov et al. 2018 average likewise."""
        keep = min(self._plan.averaging, self._updates / (self._updates + 10.0))
        with torch.no_grad():
            for mean, now in zip(
                self.averaged.state_dict().values(), self._setting.module.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(now, 1.0 - keep)
                else:
                    mean.copy_(now)

    def _guard(self, x: Tensor, y: Tensor) -> None:
        """Go back to the last sound weights and on with several steps when slopes no longer agree within the ball."""
        if self._updates and alignment(self._setting, x, y) < _LEAST_ALIGNMENT * self._first_alignment:
            self._restore(self._good)
            self.method = "pgd"
            self._setting = replace(self._setting, steps=max(2, self._setting.steps), size=self._setting.size)
            return
        if not self._updates:
            self._first_alignment = max(alignment(self._setting, x, y), 1e-6)
        self._good = copy.deepcopy(self._snapshot())

    def _snapshot(self) -> dict[str, Any]:
        return {
            "module": self._setting.module.state_dict(), "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        self._setting.module.load_state_dict(state["module"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])


def _judge(
    module: torch.nn.Module, setting: Setting, method: str, held: tuple[Tensor, Tensor] | None
) -> tuple[float | None, float | None]:
    """Return clean accuracy on the held-out rows, and what the method is after: under attack, under noise, certified."""
    if held is None:
        return None, None
    if method == "noise":
        return accuracy(module, *held), accuracy(module, noisy(setting, held[0]), held[1])
    if method == "interval":
        with torch.no_grad():
            worst = worst_logits(module, setting.ball, *held)
        return accuracy(module, *held), float((worst.argmax(dim=1) == held[1]).double().mean())
    return accuracy(module, *held), robust_accuracy(
        module, *held, setting.ball, steps=_JUDGE_STEPS, generator=setting.generator
    )


def accuracy(module: torch.nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of rows (n, ...) that the module gets right."""
    with torch.no_grad():
        return float((module(x).argmax(dim=1) == y).double().mean())


def robust_accuracy(
    module: torch.nn.Module, x: Tensor, y: Tensor, ball: Ball, *, steps: int, generator: torch.Generator
) -> float:
    """Return the share that stays right under one run of projected gradient ascent: an upper end, not a proof."""
    worst = ascend(
        lambda rows: functional.cross_entropy(module(rows), y, reduction="sum"), x, ball,
        steps=steps, size=2.5 * ball.radius / steps, generator=generator,
    )  # fmt: skip
    return accuracy(module, worst, y)

"""Assay as a competitor of ``../shared/bench/robustness_peers.py --ours benchmarks/robustness_adapter.py``."""

from __future__ import annotations

import inspect

import numpy as np

from assay.assessment.evasion.autoattack import AutoAttack
from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.pgd import PGD
from assay.assessment.evasion.square import Square
from assay.contract.region import Region
from assay.core.discovery import named
from assay.models.predictor import predictor

# What ART's HopSkipJump spends on the same tables (2,370 rows a sample), so that distances are compared at equal queries.
BUDGET = 2370


def white_linf(module, x, y, eps, steps, seed):
    """PGD at the peers' steps and step size."""
    attack = PGD(radius=eps, steps=steps, step=eps / 10, max_queries=steps + 3)
    return _run(attack, _torch(module), x, y, seed)


def autoattack_linf(module, x, y, eps, seed):
    """The standard ensemble."""
    return _run(AutoAttack(radius=eps), _torch(module), x, y, seed)


def square_linf(predict_proba, x, y, eps, budget, seed):
    """Square within its budget, the first look at the sample included."""
    return _run(Square(radius=eps, max_queries=budget), _model(predict_proba, x), x, y, seed)


def hsj(predict_proba, x, y, norm, iters, init_eval, max_eval, low, high, seed):
    """HopSkipJump at the peers' iterations, within ART's number of queries."""
    directions = init_eval if x.ndim > 2 else 60
    attack = HopSkipJump(max_queries=BUDGET, norm="l2" if norm == 2 else "linf", iterations=40, directions=directions)
    return _run(attack, _model(predict_proba, x), x, y, seed, low, high)


def _run(attack, model, x, y, seed, low=0.0, high=1.0):
    width = int(np.prod(x.shape[1:]))
    region = Region.box(np.full(width, low), np.full(width, high))
    return attack(model, x, y, region, seed=seed).x_adv.astype(np.float32)


def _model(predict_proba, x):
    """Return the predictor of what the bench gives: its own torch module where the callable is one."""
    module = inspect.getclosurevars(predict_proba).nonlocals.get("c")
    if hasattr(module, "state_dict"):
        return _torch(module)
    classes = predict_proba(x[:1]).shape[1]
    # Asked in float32, as the peers' answers are judged.
    return predictor(lambda rows: predict_proba(rows.astype(np.float32)), classes=classes)


def _torch(module):
    """Return the predictor of the bench's module itself: a copy would not count what passes through it."""
    import torch

    class Kept(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def __deepcopy__(self, _memo):
            return self

        def forward(self, x):
            return self.inner(x)

    return predictor(Kept(), classes=10)


def minimal(name, module, x, y, seed):
    """An attack for the shortest displacement, by name, at its defaults."""
    return _run(named(EvasionAttack, name)(), _torch(module), x, y, seed)

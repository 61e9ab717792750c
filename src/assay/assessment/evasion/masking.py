"""Gradient masking: signs that a model hides its gradients rather than withstands attacks.

A masked model makes gradient attacks fail while wrong inputs are as near as ever; robust accuracy measured by them is
then worth nothing. The signs are those of Athalye, Carlini & Wagner 2018 and Carlini et al. 2019, each made a paired
test on the same samples, so that an honest model gives no alarm by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.evasion.fgsm import FGSM
from assay.assessment.evasion.pgd import PGD
from assay.assessment.evasion.square import Square
from assay.core.clock import stream
from assay.core.finding import Finding, Severity
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_ALPHA = 0.01
_TECHNIQUE = "AML.T0043.000"
_REMEDY = (
    "Do not count on robust accuracy by gradients: use AutoAttack, a margin or logits-ratio loss, and black-box attacks"
)
# Share of samples that may stay unbroken, or without a gradient, before it is a sign.
_TOLERATED = 0.05
_NOISE_DRAWS = 50
_WIDE = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Masking:
    """Which samples each look turned, and what follows.

    broken: by name of the look, (n,); ``wide`` has ten times the radius. flat (n,): samples whose gradient is zero or
    not finite. right (n,): samples that the model gets right, the only ones compared. findings: empty for an honest model.
    """

    broken: Mapping[str, Flags]
    flat: Flags
    right: Flags
    findings: tuple[Finding, ...]


def masking(
    predictor: Predictor,
    x: NDArray[np.floating],
    y: NDArray[np.integer],
    region: Region,
    *,
    radius: float,
    norm: str = "linf",
    steps: int = 40,
    queries: int = 1000,
    seed: int = 0,
) -> Masking:
    """Look for gradient masking on samples x (n, ...) with labels y (n,) within ``radius`` of ``norm`` (linf or l2).

    PGD on the cross-entropy with ``steps`` steps is held against one step, a quarter of the steps, Square with
    ``queries`` queries, and random points of the ball; and is expected to turn everything at ten times the radius.
    A look is a sign where it turns samples that PGD does not, more than the other way round (exact sign test, 1 %
    over all looks). Raises UnsupportedError for a model without gradients, BudgetError when its budget ends.
    """
    looks: dict[str, EvasionAttack] = {
        "iterative": PGD(norm=norm, radius=radius, steps=steps, max_queries=steps + 4),
        "single step": FGSM(norm=norm, radius=radius),
        "fewer steps": PGD(norm=norm, radius=radius, steps=max(1, steps // 4), max_queries=steps + 4),
        "black box": Square(norm=norm, radius=radius, max_queries=queries),
        "wide": PGD(norm=norm, radius=_WIDE * radius, steps=steps, max_queries=steps + 4),
    }
    results = {name: look(predictor, x, y, region, seed=seed) for name, look in looks.items()}
    right = ~results["iterative"].already_wrong
    broken = {name: result.success for name, result in results.items()}
    broken["noise"] = _noise(predictor, x, y, region, radius=radius, norm=norm, seed=seed) & right
    slope = predictor.gradient(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.intp)).reshape(len(x), -1)
    flat = ~np.isfinite(slope).all(axis=1) | (slope[:, region.mutable] == 0).all(axis=1)
    signs = (
        ("black box", "black-box", "Square, which sees no gradient, turns samples that PGD does not"),
        ("noise", "noise", "random points of the ball turn samples that PGD does not"),
        ("single step", "single-step", "one step turns samples that many steps do not"),
        ("fewer steps", "steps", "a quarter of the steps turns samples that all steps do not"),
    )
    findings = [
        _compared(broken[name], broken["iterative"], right, rule, text, len(signs)) for name, rule, text in signs
    ]
    findings += [_unbroken(broken["wide"], right), _flat(flat, right)]
    return Masking(broken, flat, right, tuple(f for f in findings if f is not None))


def _noise(
    predictor: Predictor,
    x: NDArray[np.floating],
    y: NDArray[np.integer],
    region: Region,
    *,
    radius: float,
    norm: str,
    seed: int,
) -> Flags:
    """Return which samples some of the random points of their balls turns, (n,)."""
    start = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    generator, turned = stream(seed, "masking"), np.zeros(len(start), dtype=bool)
    for _ in range(_NOISE_DRAWS):
        step = generator.choice((-1.0, 1.0), start.shape) if norm == "linf" else generator.standard_normal(start.shape)
        if norm == "l2":
            step /= np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)
        rows = region.project(start + radius * step * region.scale, start)
        inside = region.distance(rows, start, norm) <= radius * (1 + 1e-9)
        turned |= inside & (predictor.labels(rows.reshape(np.shape(x))) != y)
    return turned


def _compared(other: Flags, iterative: Flags, right: Flags, rule: str, text: str, tests: int) -> Finding | None:
    """Return a finding where the other look turns more samples than PGD does, by an exact sign test."""
    only, missed = int((other & ~iterative & right).sum()), int((iterative & ~other & right).sum())
    total = only + missed
    chance = sum(math.comb(total, k) for k in range(only, total + 1)) / 2.0**total
    if chance > _ALPHA / tests:
        return None
    message = f"{text}: {only} of {int(right.sum())}, against {missed} the other way round (p = {chance:.1g})"
    return Finding(f"gradient-masking-{rule}", Severity.HIGH, message, "model", _REMEDY, _TECHNIQUE)


def _unbroken(wide: Flags, right: Flags) -> Finding | None:
    """Return a finding where ten times the radius does not turn nearly everything."""
    left, n = int((right & ~wide).sum()), int(right.sum())
    if not n or clopper_pearson(left, n)[0] <= _TOLERATED:
        return None
    message = f"{left} of {n} samples withstand PGD at {_WIDE:g} times the radius, where hardly any model can be right"
    return Finding("gradient-masking-wide", Severity.MEDIUM, message, "model", _REMEDY, _TECHNIQUE)


def _flat(flat: Flags, right: Flags) -> Finding | None:
    """Return a finding where many gradients are zero or not finite."""
    none, n = int((flat & right).sum()), int(right.sum())
    if not n or clopper_pearson(none, n)[0] <= _TOLERATED:
        return None
    message = f"the gradient of the cross-entropy is zero or not finite at {none} of {n} samples"
    return Finding("gradient-masking-flat", Severity.HIGH, message, "model", _REMEDY, _TECHNIQUE)

"""APGD-T: Auto-PGD aimed at the likeliest other classes, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.auto_pgd import auto_pgd
from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import logits_ratio
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from collections.abc import Iterator


# Rows asked at once by default, over which a call's fixed cost is spread.
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class APGDT(GradientAttack, name="apgd_t", techniques=("AML.T0043.000",), mitigations=("AML.M0003",)):
    """Climb the difference of logits ratio towards each of the likeliest other classes (Croce & Hein 2020).

    With targets given, only those are aimed at. Any number of classes: with fewer, there are fewer aims.
    """

    max_queries: int = setting(2000, Within(5, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm of the ball, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    steps: int = setting(100, Within(1, None), "Steps towards each class.")
    classes: int = setting(9, Within(1, None), "Other classes aimed at, the likeliest first.")

    def walk(self, ground: Ground) -> None:
        """Aim at several classes at once, as many as fit in a batch, with the samples that are left."""
        for aimed in aims(ground, self.classes):
            auto_pgd(aimed, aimed.everyone(), logits_ratio, self.steps)


def aims(ground: Ground, most: int) -> Iterator[Ground]:
    """Yield grounds whose positions aim at each sample's likeliest other classes, the likeliest first.

    A sample takes several positions, up to a batch of rows in all, so that the first class to give way ends its
    search. Samples that are done in between are left out. Costs one query a sample; with targets, aims at just these.
    """
    oracle, white = ground.oracle, ground.white
    if ground.wanted is not None:
        yield ground
        return
    at = ground.payable(ground.everyone())
    if not len(at):
        return
    order = np.zeros((len(ground.live), white.classes), dtype=np.intp)
    logits = oracle.logits(white, ground.rows(ground.nothing()[at], at), ground.live[at])
    order[at] = np.argsort(
        np.where(white.array(ground.truth[at]) > 0, np.inf, -white.array(logits)), axis=1, kind="stable"
    )
    place, last = 0, min(most, white.classes - 1)
    bounded = np.isfinite(oracle.radius)
    while place < last and len(at):
        ways = max(1, min(last - place, (white.batch or _ROWS) // len(at)))
        yield ground.part(at).aimed(order[at, place : place + ways])
        place += ways
        if bounded:
            at = at[~np.isfinite(oracle.distance[ground.live[at]])]

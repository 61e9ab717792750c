"""Blind inversion: draw each class by answers alone, along slopes estimated from pairs of opposite steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.inversion.base import InversionAttack
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlindInversion(InversionAttack, name="blind", techniques=("AML.T0024.001",)):
    """Climb each class's probability with slopes from antithetic Gaussian probes, all classes in one call.

    The black-box form of MIFace (Fredrikson, Jha & Ristenpart 2015, section 5) with natural evolution strategies
    (Wierstra et al. 2014; Ilyas et al. 2018) in place of the gradient. Probabilities are ranked, so that models whose
    answers come in steps, as forests do, can be climbed too.
    """

    threat_model: ClassVar[str] = "black box with probabilities; knows the ranges and no row"
    max_queries: int = setting(2000, Within(10, None), "Hard budget of model queries for each class.")
    probes: int = setting(25, Within(1, None), "Pairs of opposite probes for each slope.")
    reach: float = setting(0.15, Within(0.0, 1.0, open_low=True), "Spread of the probes, as a share of the range.")
    rate: float = setting(0.1, Within(0.0, None, open_low=True), "Length of a step, as a share of the range.")

    def draw(
        self, predictor: Predictor, start: Array, low: Array, high: Array, shape: tuple[int, ...], chance: np.random.Generator
    ) -> Array:  # fmt: skip
        """Return the last sample of each class, (c, d), the mean of the way's last third."""
        classes, d = predictor.classes, len(start)
        span = high - low
        x = np.tile(start, (classes, 1))
        speed, kept, total = np.zeros_like(x), np.zeros_like(x), 0
        pairs = min(self.probes, max(1, self.max_queries // 2))
        steps = max(1, self.max_queries // (2 * pairs))
        for turn in range(steps):
            noise = chance.standard_normal((pairs, d))
            both = np.concatenate([noise, -noise])
            rows = np.clip(x[:, None] + self.reach * both * span, low, high)
            shares = predictor.probabilities(rows.reshape(-1, *shape)).reshape(classes, 2 * pairs, classes)
            value = np.log(np.clip(shares[np.arange(classes), :, np.arange(classes)], 1e-6, 1.0))
            weight = _centred_ranks(value)
            slope = weight @ both
            length = np.linalg.norm(slope, axis=1, keepdims=True)
            speed = 0.8 * speed + np.divide(slope, length, out=np.zeros_like(slope), where=length > 0)
            rate = self.rate * (1.0 - 0.8 * turn / steps)
            x = np.clip(x + rate * np.sqrt(d) / 4.0 * span * speed, low, high)
            if turn >= 2 * steps // 3:
                kept += x
                total += 1
        return kept / max(1, total)


def _centred_ranks(values: Array) -> Array:
    """Return ranks (k, m) of each row scaled to [-1/2, 1/2], equal values sharing their mean rank."""
    below = (values[:, :, None] > values[:, None, :]).sum(axis=2)
    same = (values[:, :, None] == values[:, None, :]).sum(axis=2)
    ranks: Array = (below + (same - 1) / 2.0) / max(1, values.shape[1] - 1) - 0.5
    return ranks

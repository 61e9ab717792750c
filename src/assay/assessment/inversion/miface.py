"""MIFace: climb the model's own gradient from a blank sample to each class."""

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
class MIFace(InversionAttack, name="miface", techniques=("AML.T0024.001",)):
    """Descend on one less the class's probability, from the middle of the range.

    Fredrikson, Jha & Ristenpart 2015, algorithm 1, with steps of one length for every class; the auxiliary term is a pull
    towards the start, which keeps values that say nothing where they were. Each slope is the mean of those at noisy copies
    (SmoothGrad, Smilkov et al. 2017), without which a network is sure of something that looks like noise.
    """

    threat_model: ClassVar[str] = "white box: knows the weights; knows the ranges and no row"
    max_queries: int = setting(200, Within(2, None), "Hard budget of gradients for each class.")
    copies: int = setting(2, Within(1, None), "Noisy copies for each slope.")
    reach: float = setting(0.15, Within(0.0, 1.0), "Spread of the noise, as a share of the range.")
    rate: float = setting(0.1, Within(0.0, None, open_low=True), "Length of a step, as a share of the range.")
    pull: float = setting(0.1, Within(0.0, None), "Weight of the pull towards the start.")

    def draw(
        self, predictor: Predictor, start: Array, low: Array, high: Array, shape: tuple[int, ...], chance: np.random.Generator
    ) -> Array:  # fmt: skip
        """Return a sure sample of each class, (c, d), the mean of the way's last third.

        Raises UnsupportedError for a model without gradients.
        """
        classes, span = predictor.classes, np.where(high > low, high - low, 1.0)
        copies = min(self.copies, self.max_queries)
        steps = max(1, self.max_queries // copies)
        labels = np.repeat(np.arange(classes), copies)
        x = np.tile(start, (classes, 1))
        kept, total = np.zeros_like(x), 0
        for turn in range(steps):
            near = np.repeat(x, copies, axis=0)
            near = np.clip(near + self.reach * span * chance.standard_normal(near.shape), low, high)
            slopes = predictor.gradient(near.reshape(-1, *shape), labels).reshape(classes, copies, -1)
            slope = slopes.mean(axis=1) * span
            slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12)
            slope += self.pull * (x - start) / span
            rate = self.rate * (1.0 - turn / steps)
            x = np.clip(x - rate * np.sqrt(x.shape[1]) / 4.0 * span * slope, low, high)
            if turn >= 2 * steps // 3:
                kept += x
                total += 1
        return kept / max(1, total)

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
    """Descend on one less the class's probability, from the middle of the range; keep the surest sample seen.

    Fredrikson, Jha & Ristenpart 2015, algorithm 1, with steps of one length for every class; the auxiliary term is a pull
    towards the start, which keeps values that say nothing where they were.
    """

    threat_model: ClassVar[str] = "white box: knows the weights; knows the ranges and no row"
    max_queries: int = setting(200, Within(2, None), "Hard budget of gradients for each class.")
    rate: float = setting(0.1, Within(0.0, None, open_low=True), "Length of a step, as a share of the range.")
    pull: float = setting(0.01, Within(0.0, None), "Weight of the pull towards the start.")

    def draw(
        self, predictor: Predictor, start: Array, low: Array, high: Array, shape: tuple[int, ...], chance: np.random.Generator
    ) -> Array:  # fmt: skip
        """Return the surest samples of each class, (c, d). Raises UnsupportedError for a model without gradients."""
        del chance
        classes = predictor.classes
        span, labels = np.where(high > low, high - low, 1.0), np.arange(classes)
        x = np.tile(start, (classes, 1))
        best, surest = x.copy(), np.full(classes, -np.inf)
        steps = max(1, self.max_queries // 2)
        for turn in range(steps):
            loss = -np.log(np.clip(np.diag(predictor.probabilities(x.reshape(-1, *shape))), 1e-12, 1.0))
            value = -loss - self.pull * (((x - start) / span) ** 2).sum(axis=1)
            better = value > surest
            best[better], surest[better] = x[better], value[better]
            slope = predictor.gradient(x.reshape(-1, *shape), labels).reshape(classes, -1) * span
            slope += 2.0 * self.pull * (x - start) / span
            length = np.linalg.norm(slope, axis=1, keepdims=True)
            rate = self.rate * (1.0 - turn / steps)
            x = np.clip(x - rate * np.sqrt(x.shape[1]) * span * slope / np.maximum(length, 1e-12) / 4.0, low, high)
        return best

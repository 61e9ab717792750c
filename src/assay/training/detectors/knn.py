"""Distance from the nearest clean samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.core.settings import Within, setting
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting
from assay.training.detectors.neighbours import Neighbours

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor
    from assay.training.detectors.base import Array, Embedding, Labels


@dataclass(frozen=True, slots=True)
class Knn(Detector, name="knn"):
    """Mean distance to the k nearest clean samples. Papernot & McDaniel 2018 and Sun et al. 2022 use the like."""

    rate: float = rate_setting()
    held: float = held_setting()
    k: int = setting(5, Within(1, None), "Neighbours.")
    most: int = setting(5000, Within(1, None), "Clean samples kept.")

    def learn(
        self, model: Predictor, x: Array, y: Labels, embedding: Embedding | None, generator: np.random.Generator
    ) -> Scorer:
        """Return the distance in the features of clean samples."""
        del model, y
        return _MeanDistance(x, self.k, self.most, embedding, generator)


class _MeanDistance(Neighbours):
    def score(self, x: NDArray[Any]) -> Array:
        mean: Array = self.nearest(self.embed(x))[1].mean(axis=1)
        return mean

    def slope(self, x: NDArray[Any]) -> Array:
        ways, _ = self.ways(x)
        return self.embed.pull(x, ways.mean(axis=1))

"""Local intrinsic dimension: how fast neighbours become more with distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.settings import Within, setting
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting
from assay.training.detectors.neighbours import Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor
    from assay.training.detectors.base import Array, Embedding, Labels

# A dimension that cannot be told, when all neighbours are as far, is this large.
_MOST = 1e6


@dataclass(frozen=True, slots=True)
class Lid(Detector, name="lid"):
    """The maximum-likelihood estimate of local intrinsic dimension from k neighbours. Ma et al. 2018."""

    rate: float = rate_setting()
    held: float = held_setting()
    k: int = setting(20, Within(3, None), "Neighbours.")
    most: int = setting(5000, Within(1, None), "Clean samples kept.")

    def learn(
        self, model: Predictor, x: Array, y: Labels, embedding: Embedding | None, generator: np.random.Generator
    ) -> Scorer:
        """Return the dimension in the features of clean samples."""
        del model, y
        return _Dimension(x, self.k, self.most, embedding, generator)


class _Dimension(Neighbours):
    def score(self, x: NDArray[Any]) -> Array:
        return self._dimension(self.nearest(self.embed(x))[1])

    def slope(self, x: NDArray[Any]) -> Array:
        ways, far = self.ways(x)
        steep = ways / far[:, :, None]
        rise = steep[:, :-1].mean(axis=1) - steep[:, -1]
        return self.embed.pull(x, self._dimension(far)[:, None] ** 2 * rise)

    @staticmethod
    def _dimension(far: Array) -> Array:
        closer = np.log(far[:, -1:] / far[:, :-1]).mean(axis=1)
        dimension: Array = 1.0 / np.maximum(closer, 1.0 / _MOST)
        return dimension

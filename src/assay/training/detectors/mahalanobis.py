"""Distance from the classes' Gaussian clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.settings import Within, setting
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting
from assay.training.detectors.embeddings import Standardised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor
    from assay.training.detectors.base import Array, Embedding, Labels


@dataclass(frozen=True, slots=True)
class Mahalanobis(Detector, name="mahalanobis"):
    """Squared Mahalanobis distance to the nearest class mean, one covariance for all classes. Lee et al. 2018."""

    rate: float = rate_setting()
    held: float = held_setting()
    ridge: float = setting(0.01, Within(0.0, None, open_low=True), "Added to the covariance, as a share of its mean.")

    def learn(
        self, model: Predictor, x: Array, y: Labels, embedding: Embedding | None, generator: np.random.Generator
    ) -> Scorer:
        """Return the distance in the features of clean samples."""
        del model, generator
        embed: Embedding = embedding or Standardised(x)
        features = embed(x)
        means = np.stack([features[y == c].mean(axis=0) for c in np.unique(y)])
        rest = features - means[np.searchsorted(np.unique(y), y)]
        covariance = rest.T @ rest / len(rest)
        covariance += self.ridge * (np.trace(covariance) / len(covariance) or 1.0) * np.eye(len(covariance))
        return _Cloud(embed, means, np.linalg.cholesky(np.linalg.inv(covariance)))


class _Cloud(Scorer):
    def __init__(self, embed: Embedding, means: Array, root: Array) -> None:
        self._embed, self._means, self._root = embed, means, root
        self._centres = means @ root

    def score(self, x: NDArray[Any]) -> Array:
        nearest: Array = self._distances(x).min(axis=1)
        return nearest

    def slope(self, x: NDArray[Any]) -> Array:
        nearest = self._distances(x).argmin(axis=1)
        away = (self._embed(x) @ self._root - self._centres[nearest]) @ self._root.T
        return self._embed.pull(x, 2.0 * away)

    def _distances(self, x: NDArray[Any]) -> Array:
        turned = self._embed(x) @ self._root
        # One class at a time: a sample's sum does not depend on the samples beside it.
        found: Array = np.stack([((turned - centre) ** 2).sum(axis=1) for centre in self._centres], axis=1)
        return found

"""What detectors by neighbours share: the nearest clean samples in feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import DataError
from assay.training.detectors.base import Scorer
from assay.training.detectors.embeddings import Standardised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.training.detectors.base import Array, Embedding

_TINY = 1e-12
_BLOCK = 1 << 24


class Neighbours(Scorer):
    """Finds the k nearest of at most ``most`` clean samples by Euclidean distance. Raises DataError for fewer than k."""

    def __init__(
        self, x: Array, k: int, most: int, embedding: Embedding | None, generator: np.random.Generator
    ) -> None:
        self.embed: Embedding = embedding or Standardised(x)
        kept = x if len(x) <= most else x[np.sort(generator.permutation(len(x))[:most])]
        self.known, self.k = self.embed(kept), k
        if len(kept) < k:
            raise DataError(f"{len(kept)} clean samples have no {k} neighbours", remedy="Give more, or a smaller k")
        self._squares = (self.known**2).sum(axis=1)

    def nearest(self, features: Array) -> tuple[NDArray[np.intp], Array]:
        """Return the positions (n, k) of the nearest known samples, nearest first, and their distances (n, k)."""
        places, distances = [], []
        size = max(1, _BLOCK // len(self.known))
        for start in range(0, len(features), size):
            part = features[start : start + size]
            rough = self._squares - 2.0 * part @ self.known.T
            found = np.argpartition(rough, self.k - 1, axis=1)[:, : self.k]
            # Exactly, for the few that count: the short form loses digits where distances are small.
            far = np.sqrt(((part[:, None] - self.known[found]) ** 2).sum(axis=2))
            order = np.argsort(far, axis=1, kind="stable")
            places.append(np.take_along_axis(found, order, axis=1))
            distances.append(np.maximum(np.take_along_axis(far, order, axis=1), _TINY))
        if not places:
            return np.zeros((0, self.k), dtype=np.intp), np.zeros((0, self.k))
        return np.concatenate(places), np.concatenate(distances)

    def ways(self, x: NDArray[Any]) -> tuple[Array, Array]:
        """Return the slopes (n, k, f) of the distances by the features of samples, and the distances (n, k)."""
        features = self.embed(x)
        places, far = self.nearest(features)
        return (features[:, None] - self.known[places]) / far[:, :, None], far

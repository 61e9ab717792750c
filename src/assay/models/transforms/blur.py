"""A Gaussian blur: linear, so that its slope is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.core.settings import Within, setting
from assay.models.transforms.base import Transform, planes, unplaned

if TYPE_CHECKING:
    from assay.models.transforms.base import Array


@dataclass(frozen=True, slots=True)
class Blur(Transform, name="blur", mitigations=("AML.M0010",)):
    """Average each pixel with its surroundings by Gaussian weights, edges repeated."""

    images: ClassVar[bool] = True
    deviation: float = setting(0.7, Within(0.0, 10.0, open_low=True), "Width of the weights in pixels.")

    def apply(self, x: Array, generator: np.random.Generator) -> Array:  # noqa: ARG002 - nothing is drawn
        """Return the blurred images."""
        images = planes(x)
        rows, columns = self._matrix(images.shape[2]), self._matrix(images.shape[3])
        return unplaned(rows @ images @ columns.T, x)

    def pull(self, x: Array, slope: Array) -> Array:
        """Return the slope through the transposed weights: exact."""
        del x
        images = planes(slope)
        rows, columns = self._matrix(images.shape[2]), self._matrix(images.shape[3])
        return unplaned(rows.T @ images @ columns, slope)

    def _matrix(self, length: int) -> Array:
        """Return the weights (length, length) along one axis; each row sums to 1."""
        place = np.arange(length)
        reach = max(1, round(4.0 * self.deviation))
        weights = np.zeros((length, length))
        for offset in range(-reach, reach + 1):
            share = np.exp(-0.5 * (offset / self.deviation) ** 2)
            np.add.at(weights, (place, np.clip(place + offset, 0, length - 1)), share)
        made: Array = weights / weights.sum(axis=1, keepdims=True)
        return made

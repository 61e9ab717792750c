"""The median of each pixel's surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from assay.core.settings import OneOf, setting
from assay.models.transforms.base import Transform, planes, unplaned

if TYPE_CHECKING:
    import numpy as np

    from assay.models.transforms.base import Array


@dataclass(frozen=True, slots=True)
class Median(Transform, name="median", mitigations=("AML.M0010",)):
    """Replace each pixel by the median of a square window, edges reflected. Xu, Evans & Qi 2018."""

    images: ClassVar[bool] = True
    size: int = setting(3, OneOf((2, 3, 4, 5)), "Side of the window in pixels.")

    def apply(self, x: Array, generator: np.random.Generator) -> Array:  # noqa: ARG002 - nothing is drawn
        """Return the filtered images."""
        from scipy.ndimage import median_filter

        filtered: Array = median_filter(planes(x), size=(1, 1, self.size, self.size), mode="mirror")
        return unplaned(filtered, x)

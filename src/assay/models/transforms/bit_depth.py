"""Fewer levels: rounding each value to a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.settings import Within, setting
from assay.models.transforms.base import Transform

if TYPE_CHECKING:
    from assay.models.transforms.base import Array


@dataclass(frozen=True, slots=True)
class BitDepth(Transform, name="bit_depth", mitigations=("AML.M0010",)):
    """Round each value to one of 2^bits levels between ``low`` and ``high``. Xu, Evans & Qi 2018."""

    bits: int = setting(3, Within(1, 16), "Levels are 2 to this power.")
    low: float = setting(0.0, Within(None, None), "Lowest level.")
    high: float = setting(1.0, Within(None, None), "Highest level.")

    def apply(self, x: Array, generator: np.random.Generator) -> Array:  # noqa: ARG002 - nothing is drawn
        """Return the nearest levels."""
        span, steps = self.high - self.low, 2**self.bits - 1
        level: Array = np.rint((np.clip(x, self.low, self.high) - self.low) / span * steps)
        rounded: Array = self.low + level * (span / steps)
        return rounded

"""Random noise on every input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from assay.core.settings import Within, setting
from assay.models.transforms.base import Transform

if TYPE_CHECKING:
    import numpy as np

    from assay.models.transforms.base import Array


@dataclass(frozen=True, slots=True)
class Noise(Transform, name="noise", mitigations=("AML.M0010",)):
    """Add Gaussian noise, drawn anew for every question: the slope has to be averaged over draws."""

    random: ClassVar[bool] = True
    deviation: float = setting(0.1, Within(0.0, None, open_low=True), "Standard deviation, in units of the values.")

    def apply(self, x: Array, generator: np.random.Generator) -> Array:
        """Return the noisy samples."""
        return x + self.deviation * generator.standard_normal(x.shape)

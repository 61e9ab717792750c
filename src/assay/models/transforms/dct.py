"""Quantised cosine coefficients of 8 x 8 blocks: what JPEG loses, without its colours and its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.core.settings import Within, setting
from assay.models.transforms.base import Transform, planes, unplaned

if TYPE_CHECKING:
    from assay.models.transforms.base import Array

_BLOCK = 8
# The quantisation table for luminance of ITU-T T.81, annex K.1.
_TABLE = np.array((
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
), dtype=np.float64)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dct(Transform, name="dct", mitigations=("AML.M0010",)):
    """Round the cosine coefficients of 8 x 8 blocks as JPEG does at a quality. Guo et al. 2018 try it as a defence."""

    images: ClassVar[bool] = True
    quality: int = setting(50, Within(1, 100), "As of JPEG: 1 is coarse, 100 is fine.")
    low: float = setting(0.0, Within(None, None), "Value of a black pixel.")
    high: float = setting(1.0, Within(None, None), "Value of a white pixel.")

    def apply(self, x: Array, generator: np.random.Generator) -> Array:  # noqa: ARG002 - nothing is drawn
        """Return the images after rounding, within ``low`` and ``high``."""
        images = planes(x)
        unit = 255.0 / (self.high - self.low)
        height, width = images.shape[2:]
        padded = np.pad(
            (images - self.low) * unit - 128.0, ((0, 0), (0, 0), (0, -height % _BLOCK), (0, -width % _BLOCK)), "edge"
        )
        n, c, tall, wide = padded.shape
        blocks = padded.reshape(n, c, tall // _BLOCK, _BLOCK, wide // _BLOCK, _BLOCK).swapaxes(3, 4)
        basis, table = _basis(), self._steps()
        rounded = np.rint(basis @ blocks @ basis.T / table) * table
        back = (basis.T @ rounded @ basis).swapaxes(3, 4).reshape(padded.shape)[:, :, :height, :width]
        return unplaned(np.clip((back + 128.0) / unit + self.low, self.low, self.high), x)

    def _steps(self) -> Array:
        scale = 5000.0 / self.quality if self.quality < 50 else 200.0 - 2.0 * self.quality
        steps: Array = np.clip(np.floor((_TABLE * scale + 50.0) / 100.0), 1.0, 255.0)
        return steps


def _basis() -> Array:
    """Return the orthonormal cosine transform (8, 8) of type II."""
    k, place = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)[None, :]
    basis = np.sqrt(2.0 / _BLOCK) * np.cos(np.pi * (2 * place + 1) * k / (2 * _BLOCK))
    basis[0] /= np.sqrt(2.0)
    made: Array = basis
    return made

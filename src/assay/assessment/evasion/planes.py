"""Where the pixels of a sample lie: rows, columns and channels of a flat image, or none of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_MOST_CHANNELS = 4
# Of a side's frequencies, the share that counts as low, and how many do at least.
_LOW, _FEWEST = 3, 7


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """An image of ``height`` x ``width`` x ``channels``. row, column, channel (d,): where each flat value lies."""

    height: int
    width: int
    channels: int
    row: Index
    column: Index
    channel: Index

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Planes | None:
        """Return the planes of samples of a shape: (h, w), (c, h, w) or (h, w, c), channels being four at most.

        None for tables and for whatever else has no rows and columns.
        """
        if len(shape) == 2:
            shape = (1, *shape)
        if len(shape) != 3:
            return None
        place = np.indices(shape).reshape(3, -1).astype(np.intp)
        if shape[0] <= _MOST_CHANNELS or shape[2] > _MOST_CHANNELS:
            return cls(shape[1], shape[2], shape[0], place[1], place[2], place[0])
        return cls(shape[0], shape[1], shape[2], place[0], place[1], place[2])

    def window(self, top: Index, left: Index, side: int) -> NDArray[np.bool_]:
        """Return which values lie in the square of each of k samples, (k, d)."""
        down, right = self.row - top[:, None], self.column - left[:, None]
        inside: NDArray[np.bool_] = (down >= 0) & (down < side) & (right >= 0) & (right < side)
        return inside

    def smooth(self, count: int, generator: np.random.Generator) -> Array:
        """Return random images (count, d): normal weights on the waves of low frequency of each channel."""
        down, across = _cosines(self.height), _cosines(self.width)
        weights = generator.standard_normal((count, self.channels, len(down), len(across)))
        images = down.T @ weights @ across
        flat: Array = images[:, self.channel, self.row, self.column]
        return flat


def _cosines(size: int) -> Array:
    """Return the cosine waves of low frequency over ``size`` places, lowest first, each of length one, (k, size)."""
    k = np.arange(min(size, max(_FEWEST, -(-size // _LOW))))
    waves = np.cos(np.pi * k[:, None] * (np.arange(size) + 0.5) / size)
    unit: Array = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    return unit

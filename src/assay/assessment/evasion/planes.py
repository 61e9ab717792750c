"""Where the pixels of a sample lie: rows, columns and channels of a flat image, or none of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.intp]

_MOST_CHANNELS = 4


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

"""The inputs that a radius stands for, as a set over which linear functions have a known least value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """All rows of a box that lie within ``radius`` of ``centre`` (d,) in scaled units; a superset where they are discrete.

    low, high (d,): the box, the radius included. scale (d,): of values that move on a line; 0 for the others.
    """

    centre: Array
    low: Array
    high: Array
    scale: Array
    norm: str
    radius: float

    @classmethod
    def of(cls, centre: Array, region: Region, norm: str, radius: float) -> Ball:
        """Return the rows of ``region`` within ``radius`` of one row (d,). Relations and steps are not used."""
        low, high = region.low(centre[None])[0], region.high(centre[None])[0]
        moves = region.mutable & ~region.category
        reach = np.where(moves, radius * region.scale, 0.0)
        # A changed category counts 1, however far its code moves.
        jumps = region.mutable & region.category & (radius >= 1.0)
        return cls(
            centre,
            np.where(jumps, low, np.maximum(low, centre - reach)),
            np.where(jumps, high, np.minimum(high, centre + reach)),
            np.where(moves, region.scale, 0.0), norm, radius,
        )  # fmt: skip

    def least(self, weight: Any) -> Array:
        """Return lower bounds (m,) of ``weight @ x`` over the ball. weight (m, d), dense or sparse."""
        middle, half = (self.low + self.high) / 2.0, (self.high - self.low) / 2.0
        bound: Array = weight @ middle - abs(weight) @ half
        if self.norm == "linf":
            return bound
        steep = weight.multiply(self.scale[None]).tocsr() if hasattr(weight, "multiply") else weight * self.scale
        if self.norm == "l2":
            squares = steep.multiply(steep) if hasattr(steep, "multiply") else steep * steep
            length = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
        else:
            top = abs(steep).max(axis=1)
            length = np.asarray(top.todense() if hasattr(top, "todense") else top).ravel()
        still = self.scale == 0
        fixed = weight @ np.where(still, middle, self.centre) - abs(weight) @ np.where(still, half, 0.0)
        better: Array = np.maximum(bound, fixed - self.radius * length)
        return better

    def size(self) -> Array:
        """Return the largest magnitude that each value takes, (d,)."""
        largest: Array = np.maximum(np.abs(self.low), np.abs(self.high))
        return largest

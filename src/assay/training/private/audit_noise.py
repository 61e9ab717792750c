"""What is left of released sums when the clipped sums are taken off: it must be fresh noise of the claimed size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.stats.privacy.audit import chi_square_p, normal_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]


class Remainders:
    """Collects remainders of releases, in units of the claimed noise, and tests them.

    Under the claim each is a vector of independent standard normal numbers, independent of all that came before it.
    """

    __slots__ = ("_last", "_products", "_squares", "_sum", "_total", "_weights", "count", "width")

    def __init__(self, width: int) -> None:
        self.width, self.count = width, 0
        self._squares = self._products = 0.0
        self._last: Array | None = None
        self._sum: Array = np.zeros(width)
        self._total: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, noise: Array, **directions: Array) -> None:
        """Take in one remainder (width,), and directions (width,) that are known before its noise is drawn.

        A remainder that leans towards a direction fails the check of that direction's name.
        """
        self.count += 1
        self._squares += float(noise @ noise)
        if self._last is not None:
            self._products += float(noise @ self._last)
        self._last = noise
        self._sum = self._sum + noise
        for name, direction in directions.items():
            self._total[name] = self._total.get(name, 0.0) + float(noise @ direction)
            self._weights[name] = self._weights.get(name, 0.0) + float(direction @ direction)

    def p_values(self) -> dict[str, float]:
        """Return the p-value of each check by its name. Needs one remainder or more."""
        found = {
            "noise-size": chi_square_p(self._squares, self.count * self.width),
            "noise-constant": chi_square_p(float(self._sum @ self._sum) / self.count, self.width),
        }
        if self.count > 1:
            found["noise-repeated"] = normal_p(self._products / ((self.count - 1) * self.width) ** 0.5)
        found |= {name: normal_p(self._total[name] / max(w, 1e-300) ** 0.5) for name, w in self._weights.items()}
        return found

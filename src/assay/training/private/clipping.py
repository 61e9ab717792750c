"""How much of one row's gradient counts: by one bound, a bound for each layer, or a bound that follows the gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from assay.core.errors import SettingError
from assay.core.settings import Within, check_settings, setting


@dataclass(frozen=True, slots=True)
class Clipping(ABC):
    """Turns squared norms of a row's gradient, one a layer, into a factor for each layer.

    Law: with the factors applied, no row's whole gradient is longer than ``bound``. Arrays are numpy's or torch's, and
    only names that both share are used, so that factors come about where the gradients are.
    """

    bound: float = setting(1.0, Within(0, 1e6, open_low=True), "Longest gradient of one row that counts in full.")

    def __post_init__(self) -> None:
        check_settings(self)

    @abstractmethod
    def factors(self, squares: Any, bound: float) -> Any:
        """Return factors (rows, layers) or (rows, 1) for squared norms (rows, layers) under ``bound`` now in force."""

    def noise_share(self, sigma: float) -> float:
        """Return the noise multiplier left for the gradients when all that a step releases may use ``sigma``."""
        return sigma

    def describe(self) -> dict[str, object]:
        """Return the clipping as plain data."""
        return {
            "kind": type(self).__name__.lower(),
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
        }


@dataclass(frozen=True, slots=True)
class Flat(Clipping):
    """One bound on the gradient of all layers together."""

    def factors(self, squares: Any, bound: float) -> Any:
        """Return min(1, bound / norm) for each row."""
        return _shares(squares.sum(axis=1)[:, None], bound)


@dataclass(frozen=True, slots=True)
class PerLayer(Clipping):
    """A bound on each layer by itself, all equal, of which the squares add up to that of ``bound``."""

    def factors(self, squares: Any, bound: float) -> Any:
        """Return min(1, bound / sqrt(layers) / norm) for each row and layer."""
        return _shares(squares, bound / math.sqrt(squares.shape[1]))


@dataclass(frozen=True, slots=True)
class Adaptive(Flat):
    """One bound that moves until a given share of rows is shorter (Andrew, Thakkar, McMahan & Ramaswamy 2021).

    The count of shorter rows is released with noise of its own. Both releases of a step together cost what one with
    the claimed noise multiplier would: the gradients get a little more noise (their Theorem 1).
    """

    quantile: float = setting(0.5, Within(0, 1), "Share of rows that the bound should not cut.")
    speed: float = setting(0.2, Within(0, 5, open_low=True), "Step of the bound on the scale of logarithms.")
    count_noise: float = setting(
        20.0, Within(0.1, 1e6), "Standard deviation of the noise on the count of shorter rows."
    )

    def noise_share(self, sigma: float) -> float:
        """Return (sigma^-2 - (2 count_noise)^-2)^-1/2. Raises SettingError when the count alone costs more than all."""
        left = sigma**-2 - (2 * self.count_noise) ** -2
        if left <= 0:
            raise SettingError(
                f"count_noise {self.count_noise} spends more than the whole step may",
                remedy=f"Give more than {sigma:g}",
            )
        return float(left**-0.5)

    def next_bound(self, bound: float, shorter: int, rows: int, expected: float, noise: float) -> float:
        """Return the bound of the next step from how many of ``rows`` were shorter; noise: one standard normal number."""
        # Counted as +1/2 and -1/2, so that one row changes the count by no more than a half.
        share = (shorter - rows / 2 + self.count_noise * noise) / expected + 0.5
        return bound * math.exp(-self.speed * (min(max(share, 0.0), 1.0) - self.quantile))


def _shares(squares: Any, bound: float) -> Any:
    """Return min(1, bound / norm) of squared norms."""
    return bound / squares.clip(min=bound * bound) ** 0.5


def clipping(kind: str | Clipping, bound: float) -> Clipping:
    """Return the clipping called ``flat``, ``per_layer`` or ``adaptive``. Raises SettingError for another name."""
    if isinstance(kind, Clipping):
        return kind
    kinds: dict[str, type[Clipping]] = {"flat": Flat, "per_layer": PerLayer, "adaptive": Adaptive}
    if kind not in kinds:
        raise SettingError(f"there is no clipping called {kind!r}", remedy=f"Use one of: {', '.join(kinds)}")
    return kinds[kind](bound)

"""Rising: the constraint of settings that are a ladder of numbers, such as query budgets or poisoned shares."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rising:
    """A tuple of one or more numbers, each above the one before, all within [low, high]; whole: integers only."""

    low: float
    high: float
    whole: bool = False

    def admits(self, value: object) -> bool:
        """Return whether ``value`` is such a tuple."""
        kinds = (int,) if self.whole else (int, float)
        if not isinstance(value, tuple) or not value or any(type(v) not in kinds for v in value):
            return False
        rising = all(a < b for a, b in itertools.pairwise(value))
        return rising and self.low <= value[0] and value[-1] <= self.high

    def describe(self) -> str:
        """Return the constraint in words."""
        kind = "whole numbers" if self.whole else "numbers"
        return f"rising {kind} within [{self.low:g}, {self.high:g}]"

    def invalid(self) -> Iterator[object]:
        """Yield nothing at all, a number, a fall, a repeat, and values beyond each end."""
        first = int(self.low) if self.whole else self.low
        yield ()
        yield first
        yield (first, first)
        yield (self.high, first)
        yield (self.low - 1,)
        yield (self.high + 1,)
        yield (float("nan"),)

"""The least noise that keeps a composition within a target, judged by the proven upper end of epsilon."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from assay.core.errors import SettingError
from assay.stats.privacy.accountant import Events, upper_epsilon
from assay.stats.privacy.events import SampledGaussian

_LEAST, _MOST = 0.05, 1e5


def noise_for(events_at: Callable[[float], Events], epsilon: float, delta: float, *, tolerance: float = 1e-3) -> float:
    """Return a sigma, at most ``tolerance`` above the least, with which ``events_at(sigma)`` spends at most ``epsilon``.

    The answer always meets the target: it is the upper end of a bracket that was evaluated there. Raises SettingError
    when no sigma up to 1e5 meets it.
    """
    if not epsilon > 0:
        raise SettingError(f"epsilon cannot be {epsilon!r}", remedy="Give a number above 0")

    def meets(sigma: float) -> bool:
        return upper_epsilon(events_at(sigma), delta) <= epsilon

    low, high = _LEAST, 1.0
    while not meets(high):
        low, high = high, 2 * high
        if high > _MOST:
            raise SettingError(
                f"no noise up to {_MOST:g} gives epsilon {epsilon:g} at delta {delta:g}",
                remedy="Take fewer steps, or spend less on the other events",
            )

    def judged_to_meet(sigma: float) -> bool:
        try:
            return meets(sigma)
        except SettingError:  # so little noise that nobody can say what it spends
            return False

    if high == 1.0:
        while high / 2 > _LEAST and judged_to_meet(high / 2):
            high /= 2
        low = high / 2
    while high / low > 1 + tolerance:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if judged_to_meet(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def sigma_for(epsilon: float, delta: float, rate: float, steps: int, *, tolerance: float = 1e-3) -> float:
    """Return the noise multiplier of DP-SGD for ``steps`` Poisson samples of ``rate`` under (epsilon, delta)."""
    return noise_for(lambda sigma: [(SampledGaussian(sigma, rate), steps)], epsilon, delta, tolerance=tolerance)

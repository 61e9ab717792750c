"""The privacy of the best of a random number of trials: what it costs to choose among private candidates.

A trial draws a candidate, trains it privately and scores it; the best of K trials is released, and nothing else: not K, not
the others. With K from a truncated negative binomial distribution the release costs little more than one trial. Two
proofs are at hand, one by Renyi divergences (Papernot & Steinke 2022, Theorem 2), one by privacy profiles
(docs/adr/0018), which is the tighter one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.core.settings import Within, check_settings, setting
from assay.stats.privacy.accountant import Events, delta, upper_epsilon
from assay.stats.privacy.rdp import ORDERS, epsilon_of, renyi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

# Epsilons, over that of a trial, at which its profile is looked at; any choice gives a valid bound.
_LOOKS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
_MOST_TRIALS = 10_000_000
_ZERO = 1e-12


@dataclass(frozen=True, slots=True)
class NegativeBinomial:
    """How many trials are made: one or more, ``mean`` on average (truncated negative binomial).

    shape: 1 is the geometric distribution, 0 the logarithmic one; the lower, the cheaper a trial and the more often one
    trial is all there is.
    """

    mean: float = setting(4.0, Within(1, 1e4, open_low=True), "Trials on average.")
    shape: float = setting(1.0, Within(-1, 20, open_low=True), "1: geometric, 0: logarithmic.")

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def gamma(self) -> float:
        """The chance of no further trial, in (0, 1): what gives the mean."""
        low, high = -700.0, 0.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if self._mean_at(math.exp(middle)) > self.mean else (low, middle)
        return math.exp(high)

    def chances(self) -> Iterator[float]:
        """Yield the chances of 1, 2, 3 ... trials."""
        gamma, shape = self.gamma, self.shape
        rest = -math.log(gamma) if abs(shape) < _ZERO else math.expm1(-shape * math.log(gamma)) / shape
        chance, number = (1 - gamma) / rest, 1
        while True:
            yield chance
            chance *= (1 - gamma) * (number + shape) / (number + 1)
            number += 1

    def draw(self, uniform: float) -> int:
        """Return the number of trials for a number that is uniform in (0, 1)."""
        for number, chance in enumerate(self.chances(), start=1):
            uniform -= chance
            if uniform <= 0 or number == _MOST_TRIALS:
                return number
        raise AssertionError

    def _mean_at(self, gamma: float) -> float:
        if abs(self.shape) < _ZERO:
            return (1 / gamma - 1) / -math.log(gamma)
        return self.shape * (1 - gamma) / (gamma * -math.expm1(self.shape * math.log(gamma)))


@dataclass(frozen=True, slots=True)
class Selected:
    """What the best of the trials costs. epsilon: the smaller of the two proofs.

    trial: of one trial at delta / mean; choice: what the choice adds in the proof by profiles; renyi: the proof by
    Renyi divergences.
    """

    epsilon: float
    trial: float
    choice: float
    renyi: float


def selection_epsilon(trials: NegativeBinomial, candidates: Sequence[Events], target: float) -> Selected:
    """Return what it costs, at delta = ``target``, to release the best of the trials of candidates drawn evenly.

    candidates: what a trial with each spends, its score included. Raises SettingError for a delta outside (0, 1).
    """
    kinds = [list(events) for events in {tuple(events) for events in candidates}]
    trial = max(upper_epsilon(events, target / trials.mean) for events in kinds)

    def profile(epsilon: float) -> float:
        return max(delta(events, epsilon).high for events in kinds)

    choice = choice_cost(trials, profile, [share * trial for share in _LOOKS])
    curve = np.max([renyi(events) for events in kinds], axis=0)
    by_renyi = epsilon_of(curve + renyi_cost(trials, curve), target)
    return Selected(min(trial + choice, by_renyi), trial, choice, by_renyi)


def choice_cost(trials: NegativeBinomial, profile: Callable[[float], float], looks: Sequence[float]) -> float:
    """Return the epsilon that the choice adds: delta_best(e + it) <= mean x profile(e) for every e >= 0.

    profile: epsilon -> delta of one trial, an upper bound in both directions; looks: at which epsilons to use it.
    """
    # In a neighbouring world an event of chance t has a chance of at most the least of these lines a t + b, and 1.
    slopes = np.array([0.0, *(math.exp(e) for e in looks)])
    heights = np.array([1.0, *(profile(e) for e in looks)])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = (heights[:, None] - heights[None, :]) / (slopes[None, :] - slopes[:, None])
    t = np.concatenate([[0.0, 1.0], crossings[(crossings > 0) & (crossings < 1)]])
    most = np.min(slopes[:, None] * t + heights[:, None], axis=0)
    gamma = trials.gamma
    # Between crossings the ratio is monotone: its largest value lies at one of them.
    ratio = float(((gamma + (1 - gamma) * most) / (gamma + (1 - gamma) * t)).max())
    # A billionth covers the rounding of the crossings.
    return (1 + trials.shape) * (math.log(max(ratio, 1.0)) + 1e-9)


def renyi_cost(trials: NegativeBinomial, curve: Array) -> Array:
    """Return what the choice adds to a trial's Renyi divergences at ``ORDERS``: Papernot & Steinke 2022, Theorem 2."""
    orders = np.array(ORDERS, float)
    other = (1 - 1 / orders) * curve - math.log(trials.gamma) / orders
    return np.asarray((1 + trials.shape) * float(other.min()) + math.log(trials.mean) / (orders - 1))

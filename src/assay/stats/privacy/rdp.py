"""Renyi accounting: coarser than the privacy-loss bracket and computed on another way, which is its use: a cross-check.

Orders are whole numbers of 2 and more, where the divergence of the sampled Gaussian is a finite sum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.core.errors import SettingError, UnsupportedError
from assay.stats.privacy.accountant import Events
from assay.stats.privacy.events import Event, Laplace, Pure, SampledGaussian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

ORDERS: tuple[int, ...] = (*range(2, 65), *range(72, 513, 8), 1024)


def divergences(event: Event) -> Array:
    """Return the Renyi divergence of one use of the event at each of ``ORDERS``. Raises UnsupportedError if unknown."""
    if isinstance(event, SampledGaussian):
        return np.array([_sampled_gaussian(event.sigma, event.rate, a) for a in ORDERS])
    if isinstance(event, Laplace):
        return np.array([_laplace(event.scale, a) for a in ORDERS])
    if isinstance(event, Pure) and event.delta == 0:
        return np.array([_randomised_response(event.epsilon, a) for a in ORDERS])
    raise UnsupportedError(f"there is no Renyi divergence of {event}", remedy="Use the privacy-loss bracket")


def renyi(events: Events) -> Array:
    """Return the Renyi divergence of all the events together at each of ``ORDERS``."""
    return np.asarray(sum((count * divergences(event) for event, count in events), start=np.zeros(len(ORDERS))))


def rdp_epsilon(events: Events, delta: float) -> float:
    """Return an epsilon that the events do not exceed at ``delta``, by way of Renyi divergences.

    Raises SettingError for a delta outside (0, 1).
    """
    return epsilon_of(renyi(events), delta)


def epsilon_of(curve: Array, delta: float) -> float:
    """Return an epsilon that holds at ``delta`` for Renyi divergences at ``ORDERS``.

    Canonne, Kamath & Steinke 2020, Proposition 12. Raises SettingError for a delta outside (0, 1).
    """
    if not 0 < delta < 1:
        raise SettingError(f"delta cannot be {delta!r}", remedy="Give a number in (0, 1)")
    orders = np.array(ORDERS, float)
    found = curve + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(found.min()))


def _sampled_gaussian(sigma: float, rate: float, order: int) -> float:
    """Mironov, Talwar & Zhang 2019, section 3.3: a binomial sum, in logarithms."""
    if rate == 1:
        return order / (2 * sigma**2)
    from scipy.special import gammaln

    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = choose + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * sigma**2)
    top = float(terms.max())
    return max(0.0, (top + math.log(float(np.exp(terms - top).sum()))) / (order - 1))


def _laplace(scale: float, order: int) -> float:
    """Mironov 2017, Proposition 6."""
    a, b = float(order), 1 / scale
    first = math.log(a / (2 * a - 1)) + (a - 1) * b
    second = math.log((a - 1) / (2 * a - 1)) - a * b
    return float(np.logaddexp(first, second)) / (a - 1)


def _randomised_response(epsilon: float, order: int) -> float:
    p = -math.log1p(math.exp(-epsilon))
    q = p - epsilon
    return float(np.logaddexp(order * p + (1 - order) * q, order * q + (1 - order) * p)) / (order - 1)

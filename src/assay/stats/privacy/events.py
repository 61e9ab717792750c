"""What spends privacy, as dominating pairs (P, Q) of distributions, and their loss log(dP/dQ) in the cells of a grid.

Neighbours differ by one record that is added or removed; every event is scaled to a sensitivity of one. ``remove`` is
the pair (with the record, without it), ``add`` the pair (without, with). Zhu, Dong & Wang 2022 show that the pairs
below dominate the mechanisms, also under adaptive composition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from assay.core.settings import Within, check_settings, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

Direction: TypeAlias = Literal["remove", "add"]
DIRECTIONS: tuple[Direction, ...] = ("remove", "add")
_UNIT = float(np.finfo(float).eps) / 2
_SKETCH = 600


@dataclass(frozen=True, slots=True)
class Cells:
    """The privacy loss of one event in the cells ((first + i) h, (first + i + 1) h], i < m, of a grid of width h.

    p: (m,) mass under P. r: (m,) mass under Q times exp of the cell's lower edge. error: (m,) bound of the rounding
    error of either. above, below: mass under P beyond the grid. atoms: (k, 2) losses and masses of single points, on
    top of the cells. infinite: mass where Q has none. shift: bound of the error of the edges, in units of loss.
    """

    first: int
    p: Array
    r: Array
    error: Array
    atoms: Array
    above: float = 0.0
    below: float = 0.0
    infinite: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Event(ABC):
    """One use of a mechanism on the data."""

    @abstractmethod
    def cells(self, h: float, direction: Direction, tail: float) -> Cells:
        """Return the loss on the grid of width ``h``, leaving at most ``tail`` of P's mass above it and below it."""

    @abstractmethod
    def sketch(self, direction: Direction, tail: float) -> tuple[Array, Array]:
        """Return about 600 losses and their masses under P: enough to choose a grid and a tilt, proof of nothing."""

    def atom(self) -> float:
        """Return a loss of which a single point has mass, 0.0 when there is none: the grid had better hold it."""
        return 0.0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class SampledGaussian(Event):
    """Gaussian noise on a sum over a Poisson sample: each record is in it with chance ``rate``, independently."""

    sigma: float = setting(1.0, Within(0.02, 1e6), "Standard deviation of the noise over the sensitivity.")
    rate: float = setting(1.0, Within(0, 1, open_low=True), "Chance of a record to be in the sample.")

    def cells(self, h: float, direction: Direction, tail: float) -> Cells:
        """Return the loss on the grid. Its edges are exact to ``shift``; the cells hold all mass but two tails."""
        low, high = self._reach(tail)
        bottom, top = (float(value) for value in self._loss(np.array([low, high])))
        if self.rate < 1:
            bottom = max(bottom, float(np.log1p(-self.rate)))
        first, last = int(np.floor(bottom / h)), int(np.ceil(top / h))
        index = np.arange(first, last + 1)
        x = self._place(index * h)
        (under, left), (over, right) = self._normal(x, 0.0), self._normal(x, 1.0)
        q = self.rate
        with_record, error = (1 - q) * under + q * over, (1 - q) * left + q * right
        first_p, last_p = self._beyond(x[0], x[-1])
        span = max(abs(low), abs(high))
        shift = 16 * _UNIT * (1 + span / self.sigma**2 + abs(top) + abs(bottom))
        none = np.empty((0, 2))
        if direction == "remove":
            scale = np.exp(np.minimum(index[:-1] * h, 700.0))
            return Cells(first, with_record, under * scale, np.maximum(error, left * scale), none,
                         above=last_p[1], below=first_p[1], shift=shift)  # fmt: skip
        scale = np.exp(np.minimum(-index[1:] * h, 700.0))
        p, r, error = under[::-1], (with_record * scale)[::-1], np.maximum(left, error * scale)[::-1]
        return Cells(-last, p, r, error, none, above=first_p[0], below=last_p[0], shift=shift)

    def sketch(self, direction: Direction, tail: float) -> tuple[Array, Array]:
        """Return losses at the midpoints of equal steps of the noise, and their masses."""
        from scipy.special import ndtr

        low, high = self._reach(tail)
        x = np.linspace(low, high, _SKETCH + 1)
        middle = (x[1:] + x[:-1]) / 2
        without = np.diff(ndtr(x / self.sigma))
        loss = self._loss(middle)
        if direction == "add":
            return -loss, without
        return loss, without * np.exp(np.minimum(loss, 700.0))

    def _reach(self, tail: float) -> tuple[float, float]:
        from scipy.special import ndtri

        z = -float(ndtri(tail))
        return -z * self.sigma, 1 + z * self.sigma

    def _loss(self, x: Array) -> Array:
        """Return log(1 - q + q exp((2x - 1) / (2 sigma^2))) without overflow."""
        exponent = (2 * x - 1) / (2 * self.sigma**2)
        if self.rate == 1:
            return np.asarray(exponent)
        far = np.logaddexp(np.log1p(-self.rate), np.log(self.rate) + exponent)
        small = np.abs(exponent) < 30
        return np.where(small, np.log1p(self.rate * np.expm1(np.where(small, exponent, 0.0))), far)

    def _place(self, loss: Array) -> Array:
        """Return the noise at which the loss is ``loss``; -inf where it never falls so low."""
        if self.rate == 1:
            return np.asarray(self.sigma**2 * loss + 0.5)
        big = loss > 30
        ratio = np.expm1(np.where(big, 0.0, loss)) / self.rate
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(ratio > -1, np.log1p(np.maximum(ratio, -1.0)), -np.inf)
        far = loss + np.log1p(-np.exp(-np.where(big, loss, 1.0)) * (1 - self.rate)) - np.log(self.rate)
        return np.asarray(self.sigma**2 * np.where(big, far, inside) + 0.5)

    def _normal(self, x: Array, mean: float) -> tuple[Array, Array]:
        """Return the mass of N(mean, sigma^2) between neighbouring places and a bound of its rounding error.

        The difference is taken on the side on which both numbers are small. scipy's normal distribution function is
        taken to be within (8 + 4 z^2) units in the last place, which tests compare with another implementation.
        """
        from scipy.special import ndtr

        z = (x - mean) / self.sigma
        tails = ndtr(-np.abs(z))
        size = np.minimum(np.square(z), 1e8)
        flaw = tails * (8 + 4 * np.where(np.isfinite(z), size, 0.0)) * _UNIT
        left, right = tails[:-1], tails[1:]
        both_left, both_right = z[1:] <= 0, z[:-1] >= 0
        mass = np.where(both_left, right - left, np.where(both_right, left - right, 1 - left - right))
        return np.maximum(mass, 0.0), flaw[:-1] + flaw[1:] + 2 * _UNIT * mass

    def _beyond(self, low: float, high: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the mass below ``low`` and above ``high`` under N(0) and under the mixture, a little above the truth."""
        from scipy.special import ndtr

        def both(z0: float, z1: float) -> tuple[float, float]:
            without, there = float(ndtr(z0)), float(ndtr(z1))
            slack = 1 + 1e-9
            return without * slack, ((1 - self.rate) * without + self.rate * there) * slack

        sigma = self.sigma
        return both(low / sigma, (low - 1) / sigma), both(-high / sigma, -(high - 1) / sigma)


@dataclass(frozen=True, slots=True)
class Laplace(Event):
    """Laplace noise of a scale in units of the L1 sensitivity: pure 1/scale-differential privacy."""

    scale: float = setting(1.0, Within(0.01, 1e6), "Scale of the noise over the sensitivity.")

    def cells(self, h: float, direction: Direction, tail: float) -> Cells:
        """Return the loss on the grid: two atoms at -1/scale and 1/scale, and what lies between them."""
        del direction, tail  # the pair is its own mirror image and bounded
        b, top = self.scale, 1 / self.scale
        first, last = int(np.floor(-top / h)), int(np.ceil(top / h))
        index = np.arange(first, last + 1)
        # The loss falls as the noise grows from 0 to 1.
        x = np.clip((1 - index * h * b) / 2, 0.0, 1.0)
        p = 0.5 * np.exp(-x[1:] / b) * -np.expm1(-(x[:-1] - x[1:]) / b)
        q = 0.5 * np.exp(-(1 - x[:-1]) / b) * -np.expm1(-(x[:-1] - x[1:]) / b)
        r = q * np.exp(index[:-1] * h)
        # Edges are off by a few units in the last place of 1: as much mass may lie on the wrong side.
        flaw = (8 / b + 8) * _UNIT
        error = np.full(len(p), flaw * max(1.0, float(np.exp(top))))
        atoms = np.array([[-top, 0.5 * np.exp(-top)], [top, 0.5]])
        return Cells(first, p, r, error, atoms, shift=8 * _UNIT * top)

    def sketch(self, direction: Direction, tail: float) -> tuple[Array, Array]:
        """Return the atoms and 200 points between them."""
        found = self.cells(2 / self.scale / 200, direction, tail)
        middle = (found.first + np.arange(len(found.p)) + 0.5) * 2 / self.scale / 200
        return np.concatenate([middle, found.atoms[:, 0]]), np.concatenate([found.p, found.atoms[:, 1]])

    def atom(self) -> float:
        """Return 1/scale."""
        return 1 / self.scale


@dataclass(frozen=True, slots=True)
class Pure(Event):
    """Any mechanism that is (epsilon, delta)-differentially private, by the worst pair that there is for it.

    Kairouz, Oh & Viswanath 2015: with chance delta it tells the truth, else it is randomised response.
    """

    epsilon: float = setting(1.0, Within(0, 50, open_low=True), "Epsilon of one use.")
    delta: float = setting(0.0, Within(0, 1), "Delta of one use.")

    def cells(self, h: float, direction: Direction, tail: float) -> Cells:
        """Return two atoms, at -epsilon and epsilon."""
        del h, direction, tail
        chance = (1 - self.delta) / (1 + np.exp(-self.epsilon))
        atoms = np.array([[-self.epsilon, chance * np.exp(-self.epsilon)], [self.epsilon, chance]])
        none = np.empty(0)
        return Cells(0, none, none, none, atoms, infinite=self.delta, shift=8 * _UNIT * self.epsilon)

    def sketch(self, direction: Direction, tail: float) -> tuple[Array, Array]:
        """Return the two atoms."""
        atoms = self.cells(1.0, direction, tail).atoms
        return atoms[:, 0], atoms[:, 1]

    def atom(self) -> float:
        """Return epsilon."""
        return self.epsilon

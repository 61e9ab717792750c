"""Composition by FFT of an exponentially tilted loss, with a bound of every error that it makes.

Tilting by exp(lambda loss) puts the middle of the computed distribution where the answer lies: rounding and wrapping
errors are then relative to the answer, however small delta is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.core.errors import UnsupportedError
from assay.stats.privacy.discretise import Atoms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

_UNIT = float(np.finfo(float).eps) / 2
_OUTSIDE = 1e-8


@dataclass(frozen=True, slots=True)
class Composed:
    """The sum of all losses near its tilted middle.

    losses: (n,) ascending grid points; weight: (n,) tilted masses c, so that the mass at s is exp(log_mass - tilt s) c.
    flaw: bound of the relative error of the tilted sum, as ``error`` explains; infinite: mass of unbounded losses;
    shift: bound of the error of a sum of losses.
    """

    losses: Array
    weight: Array
    tilt: float
    log_mass: float
    h: float
    spread_error: float
    point_error: float
    outside: float
    infinite: float
    shift: float

    def error(self, epsilon: float) -> float:
        """Return how far delta at ``epsilon`` may be from the sum over ``weight``, up or down."""
        tilt = self.tilt
        top = float(np.exp(tilt * np.log(tilt / (1 + tilt)) - np.log1p(tilt)))
        norm = (1 / (4 * tilt**3 * self.h) + top**2) ** 0.5
        relative = top * 2 * self.outside + norm * self.point_error + self.spread_error
        return float(np.exp(min(self.log_mass - tilt * epsilon, 700.0)) * relative)


def compose(parts: Sequence[tuple[Atoms, int]], h: float, tilt: float, *, most: int = 1 << 23) -> Composed:
    """Return the sum of independent losses, each ``count`` times, tilted by ``tilt`` > 0.

    Raises UnsupportedError when the sum spreads over more than ``most`` points of the grid.
    """
    tilted = [_tilt(atoms, h, tilt) for atoms, _ in parts]
    counts = [count for _, count in parts]
    low, high, outside = _window(parts, tilted, h, tilt)
    points = _points(max((high - low) / h, 64.0))
    if points > most:
        raise UnsupportedError(
            f"the privacy loss spreads over {points} points of a grid of {h:g}", remedy="Give a coarser grid"
        )
    levels = 8 * _UNIT * float(np.log2(points))
    product: NDArray[np.complex128] | None = None
    rounding = 0.0
    for (atoms, count), (weight, _) in zip(parts, tilted, strict=True):
        folded = np.bincount((atoms.first + np.arange(len(weight))) % points, weight, points)
        power = _power(np.fft.rfft(folded), count)
        product = power if product is None else product * power
        rounding += count * levels * float(np.linalg.norm(folded))
    assert product is not None
    sums = np.fft.irfft(product, points)
    total = sum(counts)
    rounding += (8 * _UNIT * (total + len(counts)) + levels) * float(np.linalg.norm(sums))
    first = int(np.floor(low / h))
    index = first + np.arange(points)
    weight = np.maximum(sums[index % points], 0.0)
    return Composed(
        losses=index * h,
        weight=weight,
        tilt=tilt,
        log_mass=float(sum(count * log for count, (_, log) in zip(counts, tilted, strict=True))),
        h=h,
        spread_error=_spread_error(parts, h, tilt, [log for _, log in tilted]),
        point_error=1.25 * rounding,
        outside=outside,
        infinite=float(sum(count * atoms.infinite for atoms, count in parts)),
        shift=float(sum(count * atoms.shift for atoms, count in parts)),
    )


def _points(least: float) -> int:
    """Return the smallest 2^k or 3 2^k of at least ``least``: lengths at which the FFT's error is known."""
    full = 1 << int(np.ceil(np.log2(least)))
    return full * 3 // 4 if full * 3 // 4 >= least else full


def log_moment(atoms: Atoms, h: float, tilt: float) -> float:
    """Return log of the sum of mass times exp(tilt loss)."""
    return _tilt(atoms, h, tilt)[1]


def _tilt(atoms: Atoms, h: float, tilt: float) -> tuple[Array, float]:
    exponent = tilt * atoms.losses(h)
    top = float(exponent[atoms.mass > 0].max())
    weight = atoms.mass * np.exp(np.clip(exponent - top, -745.0, 0.0))
    total = float(weight.sum())
    return weight / total, top + float(np.log(total))


def _window(
    parts: Sequence[tuple[Atoms, int]], tilted: Sequence[tuple[Array, float]], h: float, tilt: float
) -> tuple[float, float, float]:
    """Return a window that the tilted sum leaves with little chance, and a bound of that chance on each side (Chernoff)."""
    mean = variance = 0.0
    for (atoms, count), (weight, _) in zip(parts, tilted, strict=True):
        losses = atoms.losses(h)
        centre = float(weight @ losses)
        mean += count * centre
        variance += count * float(weight @ np.square(losses - centre))
    need = -np.log(_OUTSIDE)
    base = sum(count * log for (_, count), (_, log) in zip(parts, tilted, strict=True))
    step = (2 * need / max(variance, h * h)) ** 0.5

    def end(sign: float) -> float:
        """Return the nearest end that Chernoff's bound gives: convex in 1/step, so shrink the step while it helps."""
        best, size = np.inf, 1.4 * step
        for _ in range(30):
            moment = sum(count * log_moment(atoms, h, tilt + sign * size) for atoms, count in parts) - base
            found = float(moment + need) / size
            if found > best:
                break
            best, size = found, 0.7 * size
        return best

    # One point more on either side: the ends are rounded to the grid.
    return -end(-1.0) - h, end(1.0) + h, _OUTSIDE


def _power(values: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    """Return values to the power of ``count`` >= 1 by squaring: the relative error is at most 4 count units."""
    result: NDArray[np.complex128] | None = None
    square = values
    while True:
        if count & 1:
            result = square if result is None else result * square
        count >>= 1
        if not count:
            assert result is not None
            return result
        square = square * square


def _spread_error(parts: Sequence[tuple[Atoms, int]], h: float, tilt: float, logs: Sequence[float]) -> float:
    """Return the effect of wrong cell masses, relative to exp(log_mass - tilt epsilon): each use counts its own."""
    total = 0.0
    for (atoms, count), log in zip(parts, logs, strict=True):
        exponent = tilt * atoms.losses(h) - log
        with np.errstate(divide="ignore"):
            cost = np.exp(np.minimum(np.log(atoms.error) + exponent, 50.0))
        # Tilting and summing round too: a few units of each mass.
        total += count * (float(cost.sum()) + (8 + tilt * h) * _UNIT)
    return float(np.expm1(min(total, 50.0)))

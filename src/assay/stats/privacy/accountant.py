"""Epsilon and delta of a composition of events as proven brackets: the truth lies between ``low`` and ``high``.

The truth is the tight guarantee of the events' dominating pairs with every intermediate result released; the bracket
holds discretisation, cut tails, the wrap of the FFT and floating-point rounding (docs/adr/0014). Composition may be
adaptive (Zhu, Dong & Wang 2022, Theorem 10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.core.errors import SettingError, UnsupportedError
from assay.core.measure import Measure
from assay.stats.privacy.compose import Composed, compose
from assay.stats.privacy.discretise import Atoms, lower, upper
from assay.stats.privacy.events import DIRECTIONS, Direction, Event, SampledGaussian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

Events: TypeAlias = Sequence[tuple[Event, int]]
_TILTS = np.geomspace(0.05, 5000.0, 56)
_MOST_CELLS = 1 << 18
_WIDE = 3 << 16
# Accountants in use round to this grid; a multiple of it keeps the upper end above theirs.
_COMMON_GRID = 1e-4


@dataclass(frozen=True, slots=True)
class Bracket:
    """``low <= truth <= high``. errors: where the width comes from, each as a bound in the unit of ``high`` or in delta."""

    low: float
    high: float
    errors: Mapping[str, float]

    @property
    def gap(self) -> float:
        """Width over the upper end, 0.0 when that is 0."""
        return (self.high - self.low) / self.high if self.high > 0 else 0.0

    def measure(self, name: str, n: int, *, threat_model: str = "") -> Measure:
        """Return the bracket as a measure whose estimate is the upper end, which is what may be claimed."""
        return Measure(name, self.high, self.low, self.high, n, unit="epsilon", confidence=1 - 1e-12,
                       method="privacy-loss bracket", threat_model=threat_model)  # fmt: skip


def epsilon(events: Events, delta: float, *, tolerance: float = 2.5e-4, grid: float | None = None) -> Bracket:
    """Return the bracket of the epsilon that the events spend at ``delta``.

    events: pairs (event, how often). tolerance: relative width that the grid is chosen for. grid: its width (None:
    chosen). Raises SettingError for a delta outside (0, 1), a count below 1 or no event; UnsupportedError for more
    points than fit.
    """
    if not 0 < delta < 1:
        raise SettingError(f"delta cannot be {delta!r}", remedy="Give a number in (0, 1), well below 1 / records")
    given = _merged(events)
    sigma = _only_gaussian(given)
    if sigma is not None:
        return _gaussian_epsilon(sigma, delta)
    h, tilts = _plan(given, delta, tolerance, grid)
    found = _bracket(given, delta, h, tilts)
    for _ in range(0 if grid else 3):
        # The plan goes by a sketch: where that was too coarse, a finer grid is the answer.
        if found.gap <= 3.6 * tolerance:
            break
        h /= 2
        found = _bracket(given, delta, h, tilts)
    return found


def _bracket(given: list[tuple[Event, int]], delta: float, h: float, tilts: dict[Direction, float]) -> Bracket:
    ends = {"low": 0.0, "high": 0.0}
    errors = {"grid": h}
    for direction in DIRECTIONS:
        for side, round_, take in (("low", lower, _lower_epsilon), ("high", upper, _upper_epsilon)):
            found, flaws = take(_composed(given, h, direction, delta, round_, tilts[direction]), delta)
            if found > ends[side]:
                ends[side] = found
                errors |= {f"{name}_{side}": value for name, value in flaws.items()}
    plain = {name: float(value) for name, value in errors.items()}
    return Bracket(float(min(ends["low"], ends["high"])), float(ends["high"]), plain)


def upper_epsilon(events: Events, delta: float, *, tolerance: float = 2.5e-4) -> float:
    """Return the upper end of ``epsilon`` alone, in about half the time."""
    given = _merged(events)
    sigma = _only_gaussian(given)
    if sigma is not None:
        return _gaussian_epsilon(sigma, delta).high
    h, tilts = _plan(given, delta, tolerance, None)
    return float(max(_upper_epsilon(_composed(given, h, d, delta, upper, tilts[d]), delta)[0] for d in DIRECTIONS))


def delta(events: Events, epsilon: float, *, tolerance: float = 2.5e-4, grid: float | None = None) -> Bracket:
    """Return the bracket of the delta at which the events are (epsilon, delta)-differentially private, epsilon >= 0."""
    if not epsilon >= 0 or not np.isfinite(epsilon):
        raise SettingError(f"epsilon cannot be {epsilon!r}", remedy="Give a finite number of 0 or more")
    given = _merged(events)
    sigma = _only_gaussian(given)
    if sigma is not None:
        return _around(_gaussian_delta(sigma, epsilon), 1e-9)
    guess = _sketched_delta(given, epsilon)
    h, _ = _plan(given, guess, tolerance, grid)
    low = high = 0.0
    for direction in DIRECTIONS:
        tilt = _delta_tilt(given, direction, epsilon, guess)
        up = _composed(given, h, direction, guess, upper, tilt)
        down = _composed(given, h, direction, guess, lower, tilt)
        high = max(high, _delta_at(up, epsilon - up.shift, 1.0) + up.infinite)
        low = max(low, _delta_at(down, epsilon + down.shift, -1.0) + down.infinite * (1 - down.infinite))
    return Bracket(max(0.0, float(min(low, high))), float(min(high, 1.0)), {"grid": float(h)})


def _merged(events: Events) -> list[tuple[Event, int]]:
    """Return the events with equal ones counted together and all plain Gaussians as one. Raises SettingError."""
    if not events:
        raise SettingError("there is no event to account for", remedy="Give pairs (event, count)")
    counts: dict[Event, int] = {}
    precision = 0.0
    for event, count in events:
        if count < 1:
            raise SettingError(f"an event cannot happen {count} times", remedy="Give 1 or more")
        if isinstance(event, SampledGaussian) and event.rate == 1:
            precision += count / event.sigma**2
        else:
            counts[event] = counts.get(event, 0) + int(count)
    if precision:
        counts[SampledGaussian(precision**-0.5)] = 1
    return list(counts.items())


def _composed(
    events: list[tuple[Event, int]], h: float, direction: Direction, delta: float,
    round_: Callable[..., Atoms], tilt: float,
) -> Composed:  # fmt: skip
    tail = _tail(events, delta)
    parts = [(round_(e.cells(h, direction, tail), h), n) for e, n in events]
    while True:
        try:
            return compose(parts, h, tilt, most=_WIDE)
        except UnsupportedError:
            # Too much tilt lets rare large losses rule the sum; less costs precision, of which there is plenty.
            if tilt < 0.1:
                return compose(parts, h, tilt)
            tilt *= 0.75


def _tail(events: list[tuple[Event, int]], delta: float) -> float:
    return max(1e-7 * delta / sum(n for _, n in events), 1e-280)


def _plan(
    events: list[tuple[Event, int]], delta: float, tolerance: float, grid: float | None
) -> tuple[float, dict[Direction, float]]:
    """Return the width of the grid and for each direction the tilt that bounds delta best."""
    tail = _tail(events, delta)
    tilts: dict[Direction, float] = {}
    guess, steepest, spread, reach = 0.0, 0.0, np.inf, 0.0
    for direction in DIRECTIONS:
        sketches = [(*e.sketch(direction, tail), n) for e, n in events]
        moments, means = _log_moments(sketches)
        bound = (moments - np.log(delta) + _sharpening()) / _TILTS
        best = int(np.argmin(bound))
        steepest = max(steepest, float(_TILTS[best]) if bound[best] >= guess else 0.0)
        guess = max(guess, float(bound[best]))
        tilts[direction] = _tilt_to(means, float(bound[best]))
        for loss, mass, _ in sketches:
            share = mass / mass.sum()
            spread = min(spread, float(np.sqrt(max(share @ np.square(loss - share @ loss), 1e-300))))
            reach = max(reach, float(np.ptp(loss)))
    if grid is not None:
        return grid, tilts
    total = sum(n for _, n in events)
    h = min((3 * tolerance * max(guess, 1e-6) / (total * (1 + steepest))) ** 0.5, 0.1 * spread, 0.05)
    h = max(h, reach / _MOST_CELLS)
    times = h / _COMMON_GRID
    h = _COMMON_GRID * max(int(times), 1) if times >= 0.6 else _COMMON_GRID / int(np.ceil(1 / times))
    atom = max((e.atom() for e, _ in events), default=0.0)
    return (atom / np.ceil(atom / h) if atom else h), tilts


def _log_moments(sketches: Sequence[tuple[Array, Array, int]]) -> tuple[Array, Array]:
    """Return, at all tilts, the sums over events of count times log E exp(tilt loss) and of its derivative."""
    total, means = np.zeros(len(_TILTS)), np.zeros(len(_TILTS))
    for loss, mass, count in sketches:
        exponent = np.multiply.outer(_TILTS, loss)
        top = exponent.max(axis=1)
        weight = np.exp(np.maximum(exponent - top[:, None], -700.0)) * mass
        sums = weight.sum(axis=1)
        total += count * (top + np.log(sums))
        means += count * (weight @ loss) / sums
    return total, means


def _tilt_to(means: Array, middle: float) -> float:
    """Return the largest tilt whose tilted sum has its mean at or below ``middle``: there the answer is in the window."""
    return float(_TILTS[max(int(np.searchsorted(means, middle, side="right")) - 1, 0)])


def _sharpening() -> Array:
    """Return log of the largest value of exp(-tilt t) (1 - exp(-t)) over t > 0."""
    return np.asarray(_TILTS * np.log(_TILTS / (1 + _TILTS)) - np.log1p(_TILTS))


def _sketched_delta(events: list[tuple[Event, int]], epsilon: float) -> float:
    tail = _tail(events, 1e-12)
    found = 1e-200
    for direction in DIRECTIONS:
        moments, _ = _log_moments([(*e.sketch(direction, tail), n) for e, n in events])
        found = max(found, float(np.exp(min(0.0, np.min(moments - _TILTS * epsilon + _sharpening())))))
    return min(found, 0.5)


def _delta_tilt(events: list[tuple[Event, int]], direction: Direction, epsilon: float, guess: float) -> float:
    return _tilt_to(_log_moments([(*e.sketch(direction, _tail(events, guess)), n) for e, n in events])[1], epsilon)


@dataclass(frozen=True, slots=True)
class _Curve:
    """delta(eps) = scale (a_j - b_j exp(eps - middle)) for eps between the grid points j - 1 and j."""

    composed: Composed
    a: Array
    b: Array
    middle: float
    scale: float
    rounding: float

    def at(self, j: int, epsilon: float) -> float:
        return self.scale * (float(self.a[j]) - float(self.b[j]) * float(np.exp(epsilon - self.middle)))

    def slack(self, j: int) -> float:
        """Return what summing has rounded at the grid point j."""
        return self.rounding * self.scale * float(self.a[j])


def _curve(composed: Composed) -> _Curve:
    losses, tilt = composed.losses, composed.tilt
    middle = float(losses @ composed.weight / max(float(composed.weight.sum()), 1e-300))
    away = losses - middle
    mass = composed.weight * np.exp(np.clip(-tilt * away, -700.0, 600.0))
    a = np.cumsum(mass[::-1])[::-1]
    b = np.cumsum((mass * np.exp(np.clip(-away, -700.0, 90.0)))[::-1])[::-1]
    scale = float(np.exp(min(composed.log_mass - tilt * middle, 700.0)))
    unit = float(np.finfo(float).eps)
    return _Curve(composed, a, b, middle, scale, 2 * len(losses) * unit + unit * tilt * float(np.ptp(losses)))


def _delta_at(composed: Composed, epsilon: float, sign: float) -> float:
    """Return delta at ``epsilon`` with all of its error added (sign 1) or taken off (sign -1)."""
    curve = _curve(composed)
    j = int(np.searchsorted(composed.losses, epsilon, side="right"))
    inside = j < len(composed.losses)
    value = max(0.0, curve.at(j, epsilon)) if inside else 0.0
    return value + sign * (composed.error(epsilon) + (curve.slack(j) if inside else 0.0))


def _upper_epsilon(composed: Composed, delta: float) -> tuple[float, dict[str, float]]:
    """Return an epsilon at which delta is not exceeded, whatever the errors, and what each error is."""
    return _crossing(composed, delta, 1.0)


def _lower_epsilon(composed: Composed, delta: float) -> tuple[float, dict[str, float]]:
    """Return an epsilon at which delta is still exceeded (0.0 when none is proven)."""
    return _crossing(composed, delta, -1.0)


def _crossing(composed: Composed, delta: float, sign: float) -> tuple[float, dict[str, float]]:
    curve, losses = _curve(composed), composed.losses

    def flaw(j: int) -> float:
        missing = composed.infinite if sign > 0 else -composed.infinite
        return composed.error(float(losses[j])) + curve.slack(j) + max(missing, 0.0)

    def held(j: int, doubt: float) -> bool:
        return curve.at(j, float(losses[j])) + doubt * flaw(j) <= delta

    high = _first(0, len(losses) - 1, lambda j: held(j, max(sign, 0.0)))
    if sign < 0:
        # Far to the left the errors outweigh delta: the last point at which it is surely exceeded lies just left of here.
        step = 1
        while high - step > 0 and held(high - step, sign):
            step *= 2
        high = _first(max(high - step, 0), high, lambda j: held(j, sign))
    if high == len(losses) - 1 or high == 0:
        return _outside(composed, delta, sign), {"window": 1.0}
    error = flaw(high - 1)
    rest = curve.scale * float(curve.a[high]) - (delta - sign * error)
    bottom = curve.scale * float(curve.b[high])
    point = float(losses[high - 1])
    if rest > 0 and bottom > 0:
        point = min(max(curve.middle + float(np.log(rest / bottom)), point), float(losses[high]))
    found = max(0.0, point + sign * composed.shift)
    return found, {"delta": error, "infinite": composed.infinite, "shift": composed.shift}


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the first index in [low, high] from which on ``holds``; it is taken to hold at ``high``."""
    low -= 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _outside(composed: Composed, delta: float, sign: float) -> float:
    """Return the Chernoff bound of epsilon, for the rare case that the answer is not within the window."""
    if sign < 0:
        return 0.0
    if delta <= composed.infinite:
        raise SettingError(
            f"delta {delta:g} is below the chance {composed.infinite:g} of an unbounded loss",
            remedy="Give a larger delta",
        )
    tilt = composed.tilt
    top = tilt * np.log(tilt / (1 + tilt)) - np.log1p(tilt)
    spread = np.log1p(composed.spread_error)
    return max(
        0.0, float((composed.log_mass + top + spread - np.log(delta - composed.infinite)) / tilt) + composed.shift
    )


def _only_gaussian(events: list[tuple[Event, int]]) -> float | None:
    first = events[0][0]
    alone = len(events) == 1 and events[0][1] == 1 and isinstance(first, SampledGaussian)
    return first.sigma if alone and isinstance(first, SampledGaussian) and first.rate == 1 else None


def _gaussian_delta(sigma: float, epsilon: float) -> float:
    """Return the exact delta of one Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, Theorem 8)."""
    from scipy.special import log_ndtr

    first = float(log_ndtr(1 / (2 * sigma) - epsilon * sigma))
    second = epsilon + float(log_ndtr(-1 / (2 * sigma) - epsilon * sigma))
    return float(np.exp(first) * -np.expm1(min(second - first, 0.0)))


def _gaussian_epsilon(sigma: float, delta: float) -> Bracket:
    """Return the bracket of one Gaussian mechanism: its closed form solved, and widened by what solving may be off."""
    if _gaussian_delta(sigma, 0.0) <= delta:
        return Bracket(0.0, 0.0, {"closed form": 0.0})
    low, high = 0.0, 1.0
    while _gaussian_delta(sigma, high) > delta:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if _gaussian_delta(sigma, middle) > delta else (low, middle)
    return _around(high, 1e-9)


def _around(value: float, relative: float) -> Bracket:
    return Bracket(value * (1 - relative), value * (1 + relative), {"closed form": relative})

"""Bounds of a network's logits over a ball: intervals, and lines around each activation carried back to the input.

Every bound is computed in float64 and then lowered by a proven bound on rounding, of these computations and of the
model's own arithmetic: a sum of k terms errs by at most k u / (1 - k u) of the sum of magnitudes, in any order (Higham,
Accuracy and Stability of Numerical Algorithms, ch. 3), and magnitudes are carried through the network beside the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.networks import Affine, Network, activate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.certificates.ball import Ball

    Array = NDArray[np.float64]

_DOUBLE = 2.0**-53
# Operations at one value of an activation, its line and its interval, over all: generous.
_PER_LAYER = 16


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Lines below and above an activation on its interval: slope * x + offset, all (n,)."""

    low_slope: Array
    low_offset: Array
    high_slope: Array
    high_offset: Array


def interval_margins(network: Network, ball: Ball, spec: Array) -> Array:
    """Return lower bounds (m,) of ``spec @ logits`` over the ball by interval arithmetic. Gowal et al. 2018.

    spec (m, classes). The last layer is bounded together with ``spec``, not class by class.
    """
    bounds = _intervals(network, ball)
    last = network.affine[-1]
    rows, offset = spec @ last.weight, spec @ last.bias
    if not bounds:
        return ball.least(rows) + offset - _slack(network, ball, spec)
    low, high = (activate(network.activations[-1], v) for v in bounds[-1])
    margin: Array = rows @ ((low + high) / 2.0) - np.abs(rows) @ ((high - low) / 2.0) + offset
    return margin - _slack(network, ball, spec)


def linear_margins(network: Network, ball: Ball, spec: Array) -> Array:
    """Return lower bounds (m,) of ``spec @ logits`` over the ball by linear relaxation. Zhang et al. 2018 (CROWN).

    Activations whose interval is not settled are bounded again by lines through all layers before them. Of three
    choices of the lower line of a ReLU (nearest, 0, x) the best is taken for each row; none is below intervals.
    """
    bounds = _intervals(network, ball)
    for k in range(1, len(bounds)):
        bounds[k] = _tighter(network, ball, bounds, k)
    best = interval_margins(network, ball, spec)
    slack = _slack(network, ball, spec)
    for lower in ("nearest", "zero", "identity"):
        lines = [_lines(kind, *bounds[i], lower) for i, kind in enumerate(network.activations)]
        best = np.maximum(best, _back(network.affine, lines, ball, spec) - slack)
    return best


def _intervals(network: Network, ball: Ball) -> list[tuple[Array, Array]]:
    """Return the interval of what enters each activation, both ends moved out by what rounding may have added."""
    bounds: list[tuple[Array, Array]] = []
    first = network.affine[0]
    for k, map_ in enumerate(network.affine[:-1]):
        if k == 0:
            low, high = ball.least(first.weight) + first.bias, -ball.least(-first.weight) + first.bias
        else:
            before, after = (activate(network.activations[k - 1], v) for v in bounds[-1])
            middle, half = (
                map_.weight @ ((before + after) / 2.0) + map_.bias,
                abs(map_.weight) @ ((after - before) / 2.0),
            )
            low, high = middle - half, middle + half
        wide = _rounding(network, ball, k + 1)
        bounds.append((low - wide, high + wide))
    return bounds


def _tighter(network: Network, ball: Ball, bounds: list[tuple[Array, Array]], k: int) -> tuple[Array, Array]:
    """Return the interval before activation k, with those of its unsettled values bounded by lines as well."""
    low, high = bounds[k][0].copy(), bounds[k][1].copy()
    open_ = np.flatnonzero((low < 0) & (high > 0)) if network.activations[k] == "relu" else np.arange(len(low))
    if not len(open_):
        return low, high
    lines = [_lines(kind, *bounds[i], "nearest") for i, kind in enumerate(network.activations[:k])]
    map_ = network.affine[k]
    part = Affine(map_.weight[open_], map_.bias[open_], map_.fan)
    layers, eye = (*network.affine[:k], part), np.eye(len(open_))
    wide = _rounding(network, ball, k + 1)[open_]
    low[open_] = np.maximum(low[open_], _back(layers, lines, ball, eye) - wide)
    high[open_] = np.minimum(high[open_], -_back(layers, lines, ball, -eye) + wide)
    # Both bounds are true, so that rounding alone can have put them in the wrong order.
    return np.minimum(low, high), np.maximum(low, high)


def _back(layers: tuple[Affine, ...], lines: list[Lines], ball: Ball, spec: Array) -> Array:
    """Return lower bounds (m,) of ``spec`` times the last layer's answer, carried back to the input along the lines."""
    rows, offset = spec, np.zeros(len(spec))
    for k in range(len(layers) - 1, -1, -1):
        offset = offset + rows @ layers[k].bias
        rows = rows @ layers[k].weight
        if k:
            line = lines[k - 1]
            up, down = np.maximum(rows, 0.0), np.minimum(rows, 0.0)
            offset = offset + up @ line.low_offset + down @ line.high_offset
            rows = up * line.low_slope + down * line.high_slope
    return ball.least(rows) + offset


def _lines(kind: str, low: Array, high: Array, lower: str) -> Lines:
    return _relu_lines(low, high, lower) if kind == "relu" else _sigmoid_lines(kind, low, high)


def _relu_lines(low: Array, high: Array, lower: str) -> Lines:
    """Return lines around max(x, 0): the chord above, and below a line through 0 of slope 0 or 1."""
    off, on = high <= 0, low >= 0
    open_ = ~off & ~on
    width = np.where(open_, high - low, 1.0)
    chord = np.where(open_, high / width, on.astype(np.float64))
    above = np.where(open_, -low * chord, 0.0)
    choice = {"nearest": (high > -low).astype(np.float64), "zero": np.zeros_like(low), "identity": np.ones_like(low)}[
        lower
    ]
    return Lines(np.where(open_, choice, chord), np.zeros_like(low), chord, above)


def _sigmoid_lines(kind: str, low: Array, high: Array) -> Lines:
    """Return lines around tanh or the logistic function: chord and tangent on one side of 0, else of the least slope.

    Across 0 the slope is the smaller of those at the ends, which is the least on the interval, so that the line
    through the upper end lies above and that through the lower end below.
    """
    f_low, f_high = activate(kind, low), activate(kind, high)
    wide = high - low > 1e-12
    chord = np.where(wide, (f_high - f_low) / np.where(wide, high - low, 1.0), 0.0)
    middle = (low + high) / 2.0
    tangent = _steepness(kind, middle)
    touch = activate(kind, middle) - tangent * middle
    least = np.minimum(_steepness(kind, low), _steepness(kind, high))
    concave, convex = wide & (low >= 0), wide & (high <= 0)
    across = np.where(wide, least, 0.0)
    through = np.where(wide, f_low - chord * low, f_low)
    return Lines(
        np.where(concave, chord, np.where(convex, tangent, across)),
        np.where(concave, through, np.where(convex, touch, f_low - across * low)),
        np.where(concave, tangent, np.where(convex, chord, across)),
        np.where(concave, touch, np.where(convex, through, f_high - across * high)),
    )


def _steepness(kind: str, x: Array) -> Array:
    value = activate(kind, x)
    slope: Array = 1.0 - value**2 if kind == "tanh" else value * (1.0 - value)
    return slope


def _sizes(network: Network, ball: Ball) -> list[Array]:
    """Return magnitudes that bound every intermediate sum of each layer's answer, lines and offsets included."""
    size = ball.size()
    sizes = []
    for map_ in network.affine:
        size = abs(map_.weight) @ size + np.abs(map_.bias)
        sizes.append(size)
        # A line through the ends of an interval has slope 1 at most and an offset no larger than its ends, and 1.
        size = 2.0 * size + 1.0
    return sizes


def _rounding(network: Network, ball: Ball, depth: int) -> Array:
    """Return what rounding in float64 may add to a bound of what leaves affine map ``depth - 1``, (n,)."""
    terms = len(ball.centre) + sum(m.fan + _PER_LAYER for m in network.affine[:depth])
    share = terms * _DOUBLE
    made: Array = share / (1.0 - share) * _sizes(network, ball)[depth - 1]
    return made


def _slack(network: Network, ball: Ball, spec: Array) -> Array:
    """Return what rounding, of these bounds and in the model as it is run, may take from ``spec @ logits``, (m,)."""
    depth = len(network.affine)
    terms = sum(m.fan + _PER_LAYER for m in network.affine)
    share = terms * network.unit
    size = ball.size()
    for k, map_ in enumerate(network.affine):
        size = abs(map_.weight) @ size + np.abs(map_.bias)
        if k < depth - 1:
            size = size if network.activations[k] == "relu" else np.minimum(size, 1.0)
    run = share / max(1e-9, 1.0 - share) * size
    made: Array = np.abs(spec) @ (_rounding(network, ball, depth) + run)
    return made

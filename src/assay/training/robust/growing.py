"""Growing a tree against someone who moves every value by up to epsilon before the tree is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Where the ball around each of n rows lies, by the candidate cuts (d, b) of each feature, rising, NaN beyond the last.

    left, right (n, d): the whole ball is at most cut j for j >= left, and above it for j < right; between, it is on both sides.
    """

    cuts: Array
    left: Index
    right: Index

    @classmethod
    def of(cls, x: Array, reach: Array, bins: int) -> Reach:
        """Return the reach of rows x (n, d) that may move by ``reach`` (d,), over at most ``bins`` cuts a feature."""
        n, d = x.shape
        cuts = np.full((d, bins), np.nan)
        left, right = np.empty((n, d), dtype=np.intp), np.empty((n, d), dtype=np.intp)
        for f in range(d):
            found = _cuts(x[:, f], float(reach[f]), bins)
            cuts[f, : len(found)] = found
            left[:, f] = np.searchsorted(found, x[:, f] + reach[f], side="left")
            right[:, f] = np.searchsorted(found, x[:, f] - reach[f], side="left")
        return cls(cuts, left, right)


def _cuts(values: Array, reach: float, bins: int) -> Array:
    """Return at most ``bins`` cuts: beyond and short of the balls of values spread over the feature's quantiles."""
    seen = np.unique(values)
    if len(seen) < 2:
        return np.zeros(0)
    between = (seen[1:] + seen[:-1]) / 2.0
    # At x + reach a ball is just on the left, just below x - reach on the right: elsewhere nothing changes.
    edges = np.unique(np.concatenate([between, seen + reach, np.nextafter(seen - reach, -np.inf)]))
    edges = edges[(edges > seen[0] - reach) & (edges < seen[-1] + reach)]
    if len(edges) > bins:
        edges = edges[np.unique(np.rint(np.linspace(0, len(edges) - 1, bins)).astype(np.intp))]
    return np.asarray(edges, dtype=np.float64)


@dataclass(slots=True, eq=False)
class Node:
    """A node of a tree that is growing: the rows whose ball reaches it; split where feature >= 0."""

    rows: Index
    value: float
    feature: int = -1
    cut: float = 0.0
    left: int = -1
    right: int = -1


@dataclass(frozen=True, slots=True)
class Growth:
    """How a tree is grown. depth: most splits on a path; l2: penalty of leaf values; least: hessian that a leaf must hold."""

    depth: int
    l2: float
    least: float


def grow(reach: Reach, positive: Flags, slope: Array, curve: Array, growth: Growth) -> list[Node]:
    """Return a tree for the loss with derivatives ``slope`` and ``curve`` (n,) at the worst of what came before.

    positive (n,): rows of class 1, which an adversary sends to the lower of two values, and others to the higher
    (Andriushchenko & Hein 2019, Provably Robust Boosted Decision Stumps and Trees). Rows whose ball lies on both sides
    of a split go on in both.
    """
    everyone = np.arange(len(slope))
    nodes = [Node(everyone, _newton(slope.sum(), curve.sum(), growth.l2))]
    level = [0]
    for _ in range(growth.depth):
        following: list[int] = []
        for place in level:
            node = nodes[place]
            found = _best_split(reach, node.rows, positive, slope, curve, growth)
            if found is None:
                continue
            node.feature, j, low, high = found
            node.cut = float(reach.cuts[node.feature, j])
            node.left, node.right = len(nodes), len(nodes) + 1
            nodes.append(Node(node.rows[reach.right[node.rows, node.feature] <= j], low))
            nodes.append(Node(node.rows[reach.left[node.rows, node.feature] > j], high))
            following += [node.left, node.right]
        level = following
    return nodes


def worst(nodes: list[Node], positive: Flags) -> Array:
    """Return the value of the leaf that is worst for each row, (n,): the lowest for positives, the highest for others."""
    low = np.full(len(positive), np.inf)
    high = np.full(len(positive), -np.inf)
    for node in nodes:
        if node.feature < 0:
            low[node.rows] = np.minimum(low[node.rows], node.value)
            high[node.rows] = np.maximum(high[node.rows], node.value)
    return np.where(positive, low, high)


def _newton(slope: Array | float, curve: Array | float, l2: float) -> float:
    return float(-slope / (curve + l2))


def _best_split(
    reach: Reach, rows: Index, positive: Flags, slope: Array, curve: Array, growth: Growth
) -> tuple[int, int, float, float] | None:
    """Return (feature, place of the cut, value left, value right) of the split that lowers the worst loss most, or None."""
    if len(rows) < 2:
        return None
    sure_left, sure_right = _sums(reach, rows, positive, slope, curve)
    total = np.stack([_both(positive[rows], w[rows]) for w in (slope, curve)])
    # Sums of rows on both sides, by class: (2 derivatives, 2 classes, d, b).
    torn = total[:, :, None, None] - sure_left - sure_right
    best: tuple[float, int, int, float, float] | None = None
    whole = total.sum(axis=1)
    before = whole[0] ** 2 / (whole[1] + growth.l2)
    for down in (True, False):
        # Where the left value is the lower one, torn positives are sent left, and torn others right.
        here, there = (1, 0) if down else (0, 1)
        left = sure_left.sum(axis=1) + torn[:, here]
        right = sure_right.sum(axis=1) + torn[:, there]
        low, high = -left[0] / (left[1] + growth.l2), -right[0] / (right[1] + growth.l2)
        gain = left[0] ** 2 / (left[1] + growth.l2) + right[0] ** 2 / (right[1] + growth.l2) - before
        fair = (low < high) if down else (low > high)
        fair &= (left[1] >= growth.least) & (right[1] >= growth.least) & ~np.isnan(reach.cuts)
        gain = np.where(fair, gain, -np.inf)
        q = int(gain.argmax())
        f, j = divmod(q, gain.shape[1])
        if gain[f, j] > 1e-9 and (best is None or gain[f, j] > best[0]):
            best = float(gain[f, j]), f, j, float(low[f, j]), float(high[f, j])
    return None if best is None else best[1:]


def _both(positive: Flags, weight: Array) -> Array:
    return np.array([weight[~positive].sum(), weight[positive].sum()])


def _sums(reach: Reach, rows: Index, positive: Flags, slope: Array, curve: Array) -> tuple[Array, Array]:
    """Return the sums of both derivatives of rows surely left and surely right of each cut, by class: (2, 2, d, b) each."""
    d, b = reach.cuts.shape
    column = (positive[rows][:, None] * d + np.arange(d)) * (b + 1)
    size = 2 * d * (b + 1)
    left, right = [], []
    for weight in (slope, curve):
        spread = np.repeat(weight[rows], d)
        by_left = np.bincount((column + reach.left[rows]).ravel(), spread, size).reshape(2, d, b + 1)
        by_right = np.bincount((column + reach.right[rows]).ravel(), spread, size).reshape(2, d, b + 1)
        left.append(np.cumsum(by_left, axis=2)[:, :, :b])
        right.append(by_right.sum(axis=2, keepdims=True) - np.cumsum(by_right, axis=2)[:, :, :b])
    return np.stack(left), np.stack(right)


__all__ = ["Growth", "Node", "Reach", "grow", "worst"]

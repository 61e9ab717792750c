"""The leaves of an ensemble as boxes of cells: what a row must look like to reach each of them.

The cuts of all splits on a feature divide its values into cells ``(cut[i - 1], cut[i]]``. Within a cell nothing
that the model does depends on the value, so a leaf is, feature by feature, a range of cells (a set of cells where a
feature is split by categories or around zero).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.trees import TreeEnsemble

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Cells = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """All leaves of an ensemble, k in order of their trees.

    node (k,), tree (k,): where they come from. low, high (k, d): first and last cell of each feature, both included;
    ``low > high`` where no finite value reaches the leaf, which a missing one still may.
    missing (k, d): reached too when the feature is missing. cuts: of each feature, rising, (c_f,): its cells are
    c_f + 1. sets: for features that do not split by ranges alone, which cells reach each leaf, (k, c_f + 1).
    """

    node: NDArray[np.intp]
    tree: NDArray[np.intp]
    low: Cells
    high: Cells
    missing: Flags
    cuts: tuple[Array, ...]
    sets: dict[int, Flags]

    @classmethod
    def of(cls, trees: TreeEnsemble) -> Leaves:
        """Return the leaves of an ensemble; trees are descended together, one level at a time."""
        cuts = _cuts(trees)
        d, m = trees.width, len(trees.feature)
        last = np.array([len(c) for c in cuts], dtype=np.int32)
        low, high = np.zeros((m, d), dtype=np.int32), np.broadcast_to(last, (m, d)).copy()
        missing = np.ones((m, d), dtype=bool)
        odd = sorted({int(trees.feature[node]) for node in trees.pieces})
        sets = {f: np.ones((m, len(cuts[f]) + 1), dtype=bool) for f in odd}
        owner = np.full(m, -1, dtype=np.intp)
        owner[trees.root] = np.arange(trees.trees)
        level = trees.root[trees.feature[trees.root] >= 0]
        place = _places(trees, cuts)
        while len(level):
            feature, left, right = trees.feature[level], trees.left[level], trees.right[level]
            for child in (left, right):
                low[child], high[child], missing[child] = low[level], high[level], missing[level]
                owner[child] = owner[level]
                for group in sets.values():
                    group[child] = group[level]
            plain = ~np.isin(level, list(trees.pieces)) if trees.pieces else np.ones(len(level), dtype=bool)
            at, f = place[level[plain]], feature[plain]
            high[left[plain], f] = np.minimum(high[left[plain], f], at)
            low[right[plain], f] = np.maximum(low[right[plain], f], at + 1)
            missing[left, feature] &= trees.missing_left[level]
            missing[right, feature] &= ~trees.missing_left[level]
            for f_odd, group in sets.items():
                _narrow(trees, level[feature == f_odd], cuts[f_odd], group)
            level = np.concatenate([left, right])
            level = level[trees.feature[level] >= 0]
        node = np.flatnonzero(trees.feature < 0)
        node = node[np.argsort(owner[node], kind="stable")]
        for f, group in sets.items():
            low[:, f], high[:, f] = group.argmax(axis=1), group.shape[1] - 1 - group[:, ::-1].argmax(axis=1)
            empty = ~group.any(axis=1)
            low[empty, f], high[empty, f] = last[f], -1
        return cls(node, owner[node], low[node], high[node], missing[node], cuts, {f: g[node] for f, g in sets.items()})


def _cuts(trees: TreeEnsemble) -> tuple[Array, ...]:
    """Return the distinct finite cuts of each feature, rising."""
    found: list[list[Array]] = [[] for _ in range(trees.width)]
    inner = (trees.feature >= 0) & np.isfinite(trees.cut)
    inner[list(trees.pieces)] = False
    for f in range(trees.width):
        found[f].append(trees.cut[inner & (trees.feature == f)])
    for node, (cuts, _) in trees.pieces.items():
        found[int(trees.feature[node])].append(cuts[np.isfinite(cuts)])
    return tuple(np.unique(np.concatenate(parts)) for parts in found)


def _places(trees: TreeEnsemble, cuts: tuple[Array, ...]) -> NDArray[np.intp]:
    """Return the last cell that goes left at each node, (m,): -1 where none does."""
    place = np.zeros(len(trees.feature), dtype=np.intp)
    for f in range(trees.width):
        nodes = np.flatnonzero(trees.feature == f)
        cut = trees.cut[nodes]
        at = np.searchsorted(cuts[f], cut, side="left")
        place[nodes] = np.where(cut == -np.inf, -1, np.where(cut == np.inf, len(cuts[f]), at))
    return place


def _narrow(trees: TreeEnsemble, nodes: NDArray[np.intp], cuts: Array, group: Flags) -> None:
    """Take the cells that go the other way from the sets of both children of ``nodes``."""
    ends = np.append(cuts, np.inf)
    for node in nodes.tolist():
        edges, side = trees.pieces.get(node, (trees.cut[node : node + 1], np.array([True, False])))
        goes = side[np.searchsorted(edges, ends, side="left")]
        group[trees.left[node]] &= goes
        group[trees.right[node]] &= ~goes


__all__ = ["Leaves"]

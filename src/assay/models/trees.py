"""Tree ensembles as arrays: every split of a fitted model in one form, exact to the last bit of its inputs.

Libraries compare in different ways: ``<`` or ``<=``, in single or double precision, zero or NaN as missing, categories
as sets. All of it is folded into cuts between float64 inputs: a row goes to the side of the piece that its value lies
in, and the pieces of an ordinary split are ``(-inf, cut]`` and ``(cut, inf)``. What is certified about the arrays
therefore holds for the model, as far as ``labels`` agrees with it, which ``check_agreement`` tests before anyone relies on it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assay.core.clock import stream
from assay.core.discovery import Control, discover
from assay.core.errors import UnsupportedError
from assay.models.predictor import Derived, Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Index = NDArray[np.intp]

Link = Literal["logistic", "softmax", "mean"]
_BLOCK = 1 << 22
_FLOAT32_END = float.fromhex("0x1.ffffffp+127")


@dataclass(frozen=True, slots=True, eq=False)
class TreeEnsemble:
    """A sum of trees. Nodes of all trees lie in one row of arrays, (m,); a tree starts at its ``root`` (t,).

    feature (m,): column that a node asks about, -1 in a leaf. cut (m,): values up to it go ``left``, others ``right``;
    NaN goes left where ``missing_left``. pieces: nodes with more than one cut, as (cuts (c,), left (c + 1,)): side of
    each piece ``(cuts[i - 1], cuts[i]]``. value (m, outputs): what a leaf adds to ``base`` (outputs,).
    link: "logistic": one output, class 1 where its share exceeds one half; "softmax" and "mean": the largest wins,
    the first of equals. single: the model adds in single precision.
    """

    width: int
    classes: int
    root: Index
    feature: Index
    cut: Array
    left: Index
    right: Index
    missing_left: Flags
    value: Array
    base: Array
    link: Link
    single: bool = False
    pieces: dict[int, tuple[Array, Flags]] = field(default_factory=dict)

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.root)

    @property
    def tolerance(self) -> float:
        """Return how far a margin of the model's own arithmetic may lie from the exact one; ties included.

        The error of a sum of t numbers in any order is at most (t - 1) u times the sum of their sizes (Higham 2002,
        section 4.2). 0.0 where every sum is exact, as for forests of pure leaves.
        """
        leaf = self.feature < 0
        owner = np.searchsorted(np.sort(self.root), np.flatnonzero(leaf), side="right") - 1
        most = np.zeros((self.trees, self.value.shape[1]))
        np.maximum.at(most, owner, np.abs(self.value[leaf]))
        total = float((most.sum(axis=0) + np.abs(self.base)).max())
        whole = (
            self.link == "mean"
            and not np.abs(self.base).any()
            and bool((self.value[leaf] == np.rint(self.value[leaf])).all())
        )
        if whole and total < 2**53:
            return 0.0
        unit = 2.0**-24 if self.single else 2.0**-53
        # Two equal sums may still differ by a rounding each; a link rounds its answer once or twice more.
        return float(2.0 * unit * ((self.trees + 2) * total + 4.0))

    def leaf_of(self, x: Array) -> Index:
        """Return the node of the leaf that each row of x (n, width) reaches in each tree, (n, trees)."""
        rows = np.asarray(x, dtype=np.float64)
        out = np.empty((len(rows), self.trees), dtype=np.intp)
        size = max(1, _BLOCK // max(1, self.trees))
        for start in range(0, len(rows), size):
            out[start : start + size] = self._descend(rows[start : start + size])
        return out

    def scores(self, x: Array) -> Array:
        """Return the sums (n, outputs) for rows x (n, width), added tree by tree in the model's precision."""
        reached = self.leaf_of(x)
        kind = np.float32 if self.single else np.float64
        total = np.repeat(self.base.astype(kind)[None, :], len(reached), axis=0)
        value = self.value.astype(kind)
        for tree in range(self.trees):
            total += value[reached[:, tree]]
        return total.astype(np.float64)

    def labels(self, x: Array) -> Index:
        """Return the class of each row of x (n, width), (n,)."""
        total = self.scores(x)
        if self.link == "logistic":
            kind = np.float32 if self.single else np.float64
            share = 1.0 / (1.0 + np.exp(np.clip(np.negative(total[:, 0]), -80, 80).astype(kind)))
            return np.asarray(share > 1.0 - share, dtype=np.intp)
        return np.asarray(total.argmax(axis=1), dtype=np.intp)

    def margin(self, value: Array, own: int, other: int) -> tuple[Array, float]:
        """Return what values (k, outputs) of nodes add to "``other`` beats ``own``", (k,), and what that starts from.

        The answer turns from ``own`` to ``other`` where the sum is positive, within ``tolerance``.
        """
        if self.link == "logistic":
            sign = 1.0 if other else -1.0
            return sign * value[:, 0], sign * float(self.base[0])
        return value[:, other] - value[:, own], float(self.base[other] - self.base[own])

    def _descend(self, rows: Array) -> Index:
        n = len(rows)
        node = np.repeat(self.root[None, :], n, axis=0).reshape(-1)
        row = np.repeat(np.arange(n), self.trees)
        active = np.flatnonzero(self.feature[node] >= 0)
        odd = np.zeros(len(self.feature), dtype=bool)
        odd[list(self.pieces)] = True
        while len(active):
            at = node[active]
            value = rows[row[active], self.feature[at]]
            goes = value <= self.cut[at]
            if self.pieces:
                for place in np.flatnonzero(odd[at]):
                    cuts, side = self.pieces[int(at[place])]
                    goes[place] = side[np.searchsorted(cuts, value[place], side="left")]
            goes = np.where(np.isnan(value), self.missing_left[at], goes)
            node[active] = np.where(goes, self.left[at], self.right[at])
            active = active[self.feature[node[active]] >= 0]
        return node.reshape(n, self.trees)


class TreeBuilder:
    """Collects nodes, tree by tree, for a ``TreeEnsemble``. Children are given by node numbers within their tree."""

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs
        self._rows: list[tuple[int, float, int, int, bool]] = []
        self._value: list[Sequence[float]] = []
        self._pieces: dict[int, tuple[Array, Flags]] = {}
        self._root: list[int] = []

    def tree(
        self,
        feature: ArrayLike,
        cut: ArrayLike,
        left: ArrayLike,
        right: ArrayLike,
        missing_left: ArrayLike,
        value: ArrayLike,
        pieces: dict[int, tuple[Array, Flags]] | None = None,
    ) -> None:
        """Add one tree of k nodes, the first its root: arrays (k,), value (k, outputs); feature -1 marks leaves."""
        start = len(self._rows)
        self._root.append(start)
        inner = np.asarray(feature) >= 0
        columns = (
            feature, cut, np.where(inner, np.asarray(left) + start, -1), np.where(inner, np.asarray(right) + start, -1),
            missing_left,
        )  # fmt: skip
        self._rows += list(zip(*(np.asarray(c).tolist() for c in columns), strict=True))
        self._value += np.asarray(value, dtype=np.float64).reshape(len(inner), self.outputs).tolist()
        for node, parts in (pieces or {}).items():
            self._pieces[start + node] = parts

    def build(self, *, width: int, classes: int, base: ArrayLike, link: Link, single: bool = False) -> TreeEnsemble:
        """Return the ensemble. Raises UnsupportedError for one without trees."""
        if not self._root:
            raise UnsupportedError("the model has no trees", remedy="Fit it with at least one tree")
        feature, cut, left, right, missing = (np.array(c) for c in zip(*self._rows, strict=True))
        return TreeEnsemble(
            width, classes, np.array(self._root, dtype=np.intp), feature.astype(np.intp), cut.astype(np.float64),
            left.astype(np.intp), right.astype(np.intp), missing.astype(bool), np.array(self._value, dtype=np.float64),
            np.broadcast_to(np.asarray(base, dtype=np.float64), (self.outputs,)).copy(), link, single, self._pieces,
        )  # fmt: skip


class TreeReader(Control, package="assay.models.tree_readers"):
    """Reads the trees of one library's models from what that library documents. Authors write two methods."""

    @classmethod
    @abstractmethod
    def accepts(cls, model: object) -> bool:
        """Return whether this reader knows ``model``, without importing a library to find out."""

    @classmethod
    @abstractmethod
    def read(cls, model: Any) -> TreeEnsemble:
        """Return the trees. Raises UnsupportedError for what has no exact form here."""


class WithTrees(Derived):
    """A predictor together with trees that another form of the same model has shown, such as its ONNX file."""

    def __init__(self, inner: Predictor, trees: TreeEnsemble) -> None:
        super().__init__(inner.classes, batch=inner.batch)
        self.inner, self.trees = inner, trees

    def _probabilities(self, x: Array) -> Array:
        return self.inner.probabilities(x)


def read_trees(model: object) -> TreeEnsemble:
    """Return the trees of a fitted model, of the model behind a predictor, or of an ONNX file.

    Raises UnsupportedError when no reader knows the model, or it holds what has no exact form.
    """
    if isinstance(model, WithTrees):
        return model.trees
    if isinstance(model, Predictor):
        inner = getattr(model, "model", None)
        if inner is None:
            raise UnsupportedError(
                f"a {type(model).__name__} does not show its trees", remedy="Give the fitted estimator or its ONNX file"
            )
        return read_trees(inner)
    for reader in discover(TreeReader).values():
        if reader.accepts(model):
            return reader.read(model)
    raise UnsupportedError(
        f"no trees can be read from a {type(model).__module__}.{type(model).__qualname__}",
        remedy="Give a scikit-learn tree, forest or gradient boosting, an XGBoost or LightGBM classifier, or an ONNX file of trees",
    )


def check_agreement(trees: TreeEnsemble, model: Predictor, x: Array, *, rows: int = 512, seed: int = 0) -> None:
    """Compare the labels of both forms on rows near x (n, width), many of them on the edges of splits.

    Raises UnsupportedError where they differ otherwise than by rounding: then nothing may rest on the arrays.
    """
    probes = probes_near(trees, x, rows=rows, seed=seed)
    said, told = model.labels(probes), trees.labels(probes)
    bad = np.flatnonzero(said != told)
    if len(bad):
        sums = trees.scores(probes[bad])
        top = np.sort(sums, axis=1)
        gap = np.abs(sums[:, 0]) if trees.link == "logistic" else top[:, -1] - top[:, -2]
        bad = bad[gap > trees.tolerance]
    if len(bad):
        raise UnsupportedError(
            f"the trees that were read answer otherwise than the model on {len(bad)} of {len(probes)} rows",
            remedy="Report the kind of model; convert it to ONNX and use that file meanwhile",
        )


def probes_near(trees: TreeEnsemble, x: Array, *, rows: int = 512, seed: int = 0) -> Array:
    """Return rows (rows, width): mixtures of x (n, width) with values moved onto a split, or just beyond one."""
    rng = stream(seed, "trees", "probes")
    start = np.asarray(x, dtype=np.float64)
    made = start[rng.integers(0, len(start), rows)]
    mixed = start[rng.integers(0, len(start), rows)]
    made = np.where(rng.random(made.shape) < 0.3, mixed, made)
    inner = np.flatnonzero((trees.feature >= 0) & np.isfinite(trees.cut))
    for _ in range(min(4, trees.width) if len(inner) else 0):
        node = inner[rng.integers(0, len(inner), rows)]
        beyond = rng.random(rows) < 0.5
        edge = np.where(beyond, np.nextafter(trees.cut[node], np.inf), trees.cut[node])
        at = (np.arange(rows), trees.feature[node])
        # A value that is missing stays so: not every model takes the same columns with and without it.
        made[at] = np.where(np.isnan(made[at]), np.nan, edge)
    return made


def single_cut(threshold: ArrayLike, *, strict: bool = False) -> Array:
    """Return the largest float64 that, rounded to float32, is at most ``threshold`` (below it if ``strict``).

    Rounding is to nearest, ties to even (IEEE 754, section 4.3.1).
    """
    wanted = np.asarray(threshold, dtype=np.float64)
    with np.errstate(over="ignore"):
        below = wanted.astype(np.float32)
        over = (below.astype(np.float64) >= wanted) if strict else (below.astype(np.float64) > wanted)
        below = np.where(over, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf))
    middle = np.where(np.isinf(above), _FLOAT32_END, (below.astype(np.float64) + above.astype(np.float64)) / 2.0)
    even = (below.view(np.uint32) & 1) == 0
    cut: Array = np.where(even, middle, np.nextafter(middle, -np.inf))
    # No float32 lies below -inf or above inf: such a split sends all finite rows one way.
    return np.where(np.isinf(below), below.astype(np.float64), cut)


def below(threshold: ArrayLike) -> Array:
    """Return the cut of the strict test ``value < threshold``: the next float64 below."""
    cut: Array = np.nextafter(np.asarray(threshold, dtype=np.float64), -np.inf)
    return cut


def pieces_of(values: Sequence[float], *, single: bool = False) -> tuple[Array, Flags]:
    """Return cuts and sides of "the value, cut to an integer, is one of these non-negative ones": listed goes left.

    single: the value is rounded to float32 first, and nothing below zero is listed; otherwise -0.5 is cut to zero.
    """
    cuts: list[float] = []
    side = [False]
    for value in sorted({int(v) for v in values}):
        if single:
            low, high = (float(single_cut(float(v), strict=True)) for v in (value, value + 1))
        else:
            low, high = (-1.0 if v == 0 else float(np.nextafter(float(v), -np.inf)) for v in (value, value + 1))
        if cuts and cuts[-1] == low:
            cuts[-1], side[-1] = high, False
        else:
            cuts += [low, high]
            side += [True, False]
    return np.array(cuts), np.array(side)


__all__ = [
    "TreeBuilder", "TreeEnsemble", "TreeReader", "WithTrees", "below", "check_agreement", "pieces_of", "probes_near", "read_trees",
    "single_cut",
]  # fmt: skip

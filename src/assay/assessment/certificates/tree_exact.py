"""Trees, exactly: the distance to the nearest input that changes the answer of a tree ensemble, with that input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.base import Bounds, Certificate
from assay.assessment.certificates.tree_grid import Edges
from assay.assessment.certificates.tree_search import Found, Judge, Rival, Search
from assay.assessment.certificates.tree_view import View
from assay.core.settings import OneOf, Within, setting
from assay.models.tree_leaves import Leaves
from assay.models.trees import check_agreement, read_trees

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor
    from assay.models.trees import TreeEnsemble

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.intp]
    Asked = Callable[[Array], Flags]


@dataclass(frozen=True, slots=True)
class TreeExact(Certificate, name="tree_exact"):
    """The exact distance to the nearest flip of a decision tree, forest or boosted ensemble, inside the feasible region.

    A search by joining and splitting (``tree_search``), over all float64 inputs of the region, with the model's
    intercept, its handling of missing values, and its precision. When a sample's time is spent, the radius up to which
    the search was through is the bound. What the arrays of the trees say is compared with the model first, on rows at the
    edges of splits, and every flip is replayed on it.
    """

    norm: str = setting("linf", OneOf(("linf", "l1", "l2")), "Distance, in scaled units.")
    seconds: float = setting(5.0, Within(0, None), "Most seconds spent on one sample; 0: the fast bound alone.")

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the radii rest on, in words."""
        return ("inputs are float64 numbers", "the model adds its trees with rounding to nearest")

    def bound(
        self,
        predictor: Predictor,
        x0: Array,
        y: Labels,
        region: Region,
        generator: np.random.Generator,
        shape: tuple[int, ...],
    ) -> Bounds:
        """Return exact distances and flips, or bounds, of rows x0 (k, d). Raises UnsupportedError for other models."""
        del shape
        trees = read_trees(predictor)
        check_agreement(trees, predictor, x0, seed=int(generator.integers(1 << 31)))
        solver = TreeSolver.of(trees, predictor, region, norm=self.norm)
        answers = [solver.solve(x, int(label), seconds=self.seconds) for x, label in zip(x0, y, strict=True)]
        flips = np.array([x if a.row is None else a.row for x, a in zip(x0, answers, strict=True)])
        return Bounds(
            np.array([a.lower for a in answers]), flips.reshape(x0.shape), np.array([a.row is not None for a in answers]),
            np.array([a.done for a in answers]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class TreeSolver:
    """Answers for one ensemble in one region: what is worked out once for all samples."""

    trees: TreeEnsemble
    leaves: Leaves
    edges: Edges
    predictor: Predictor
    region: Region
    norm: str
    worth: Array
    tolerance: float

    @classmethod
    def of(cls, trees: TreeEnsemble, predictor: Predictor, region: Region, *, norm: str) -> TreeSolver:
        """Return the solver of an ensemble."""
        leaves = Leaves.of(trees)
        edges, worth = Edges.of(leaves), trees.value[leaves.node]
        return cls(trees, leaves, edges, predictor, region, norm, worth, trees.tolerance)

    def solve(
        self, x0: Array, label: int, *, seconds: float, target: int | None = None, flips: Asked | None = None
    ) -> Found:
        """Return what is known of one row x0 (d,) that the model gives ``label``.

        target: the class that a flip must lead to (None: any other). flips: tells of rows (k, d) whether the model
        flips on them (None: the predictor is asked).
        """
        view = View.of(self.leaves, self.edges, self.region, x0, self.norm)
        others = [c for c in range(self.trees.classes) if c != label and target in (None, c)]
        rivals = [self._rival(view, label, other) for other in others]
        if target is not None:
            # To reach one class of several, the row must beat all: that it beats the own class is what is necessary.
            rivals = rivals[:1]
        if seconds == 0:
            doubts = [view.first_doubt(r.tree, r.value, r.base, r.floor) for r in rivals]
            return Found(lower=min(doubts), done=bool(np.isinf(min(doubts))))
        judge = self._judge(x0, label, flips)
        return Search(view, self.edges, rivals, judge, seconds=seconds).run()

    def _rival(self, view: View, own: int, other: int) -> Rival:
        value, base = self.trees.margin(self.worth[view.leaf], own, other)
        tolerance = self.tolerance
        # Sums without rounding tell ties apart, and of equal scores the first class wins.
        floor = -tolerance if tolerance > 0 or other < own else float(np.nextafter(0.0, 1.0))
        return Rival(self.leaves.tree[view.leaf], value, base, floor, tolerance)

    def _judge(self, x0: Array, label: int, asked: Asked | None) -> Judge:
        start = x0[None]

        def flips(rows: Array) -> Flags:
            return np.asarray(self.predictor.labels(rows) != label, dtype=bool)

        def allowed(rows: Array) -> tuple[Array, Flags]:
            starts = np.repeat(start, len(rows), axis=0)
            fits = self.region.contains(rows, starts)
            if fits.all():
                return rows, fits
            near = np.where(fits[:, None], rows, self.region.project(rows, starts))
            return near, self.region.contains(near, starts)

        return Judge(asked or flips, allowed, lambda row: float(self.region.distance(row[None], start, self.norm)[0]))


__all__ = ["TreeExact", "TreeSolver"]

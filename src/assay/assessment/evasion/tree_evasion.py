"""Evasion of trees by someone who holds them: the exact nearest feasible row, greedy where that takes too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.tree_exact import TreeSolver
from assay.assessment.evasion.base import EvasionAttack
from assay.core.errors import DataError
from assay.core.settings import OneOf, Within, setting
from assay.models.function import Function

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import Oracle
    from assay.models.trees import TreeEnsemble

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TreeEvasion(EvasionAttack):
    """Send each sample to the nearest feasible row that the trees take for another class, in all but hard cases the nearest.

    trees: what the attacker holds, as ``read_trees`` gives it. It searches on its own copy (``TreeSolver``) and asks the model only
    to settle ties and to confirm what it found, mostly one row a sample. It is not among the discovered attacks, which know no more
    than a predictor.
    """

    trees: TreeEnsemble
    max_queries: int = setting(200, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("linf", "l1", "l2")), "Distance that is made small, in scaled units.")
    radius: float | None = setting(None, Within(0, None, open_low=True, optional=True), "Beyond which nothing counts.")
    seconds: float = setting(1.0, Within(0, None, open_low=True), "Most seconds of search for one sample.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:
        """Find the nearest row of each sample on the attacker's copy, and ask the model about it."""
        del generator
        if self.trees.width != oracle.x0.shape[1] or self.trees.classes != oracle.classes:
            raise DataError("the trees are of another shape than the model", remedy="Give the trees of this model")
        own = Function(self.trees.labels, self.trees.classes)
        solver = TreeSolver.of(self.trees, own, oracle.region, norm=self.norm)
        for sample in live.tolist():
            target = None if oracle.targets is None else int(oracle.targets[sample])
            owner = np.array([sample])

            def flips(rows: Array, owner: Index = owner, sample: int = sample) -> NDArray[np.bool_]:
                # One query is kept for the row that is found in the end.
                said = np.zeros(len(rows), dtype=bool)
                able = max(0, min(len(rows), int(oracle.left[sample]) - 1))
                if able:
                    said[:able] = oracle.wrong(rows[:able], np.repeat(owner, able))
                return said

            found = solver.solve(
                oracle.x0[sample], int(first[sample]), seconds=self.seconds, target=target, flips=flips
            )
            if found.row is not None and oracle.left[sample] > 0 and found.upper < oracle.distance[sample]:
                oracle.wrong(found.row[None], owner)


__all__ = ["TreeEvasion"]

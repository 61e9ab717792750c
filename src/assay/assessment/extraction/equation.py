"""Equation solving: a linear or softmax model is its answers to one row more than it has columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.extraction.base import ANSWERS, SHOWN, ExtractionAttack
from assay.assessment.extraction.thief import owned
from assay.assessment.rising import Rising
from assay.contract.draw import drawn
from assay.core.settings import setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.extraction.base import Copy
    from assay.contract.region import Region

    Array = NDArray[np.float64]

_REACH = 10.0
_TINY = 1e-300
# Two decimals hide less than half of a hundredth; a label hides all but which side of a half.
_LEAST = {"probabilities": _TINY, "rounded": 0.005, "top1": 0.005, "labels": 0.02}


@dataclass(frozen=True, slots=True)
class EquationSolving(
    ExtractionAttack, name="equation", techniques=("AML.T0024.002",), mitigations=("AML.M0002", "AML.M0004")
):
    """Solve for the weights: the log-odds of each answer are one linear equation in them.

    Tramer, Zhang, Juels, Reiter & Ristenpart 2016, section 4.1. Exact for logistic regression and softmax models after
    d + 1 full answers; of any other model it makes the best linear copy.
    """

    budgets: tuple[int, ...] = setting((100, 300, 1000), Rising(1, 10_000_000, whole=True), "Numbers of rows asked.")
    answers: str = setting("probabilities", ANSWERS, "What the thief sees of each answer.")

    @property
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""
        return f"black box; has unlabelled rows or knows the ranges; {SHOWN[self.answers]}; guesses that the model is linear"

    def rows(self, pool: Array, region: Region, count: int, generator: np.random.Generator) -> Array:
        """Return the pool in random order, then mixtures of its rows; rows of the ranges where there is no pool."""
        return owned(pool, region, count, generator) if len(pool) else drawn(region, count, _REACH, generator)

    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:  # noqa: ARG002
        """Return the least-squares solution of least norm, on columns scaled to one spread."""
        least = _LEAST[self.answers]
        known = np.where(np.isnan(x), np.nanmean(np.where(np.isnan(x).all(axis=0), 0.0, x), axis=0), x)
        middle, spread = known.mean(axis=0), known.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        logs = np.log(np.clip(answers, least, 1.0))

        def design(rows: Array) -> Array:
            return np.column_stack([np.where(np.isnan(rows), 0.0, (rows - middle) / spread), np.ones(len(rows))])

        weights = np.linalg.lstsq(design(known), logs[:, 1:] - logs[:, :1], rcond=None)[0]

        def copied(rows: Array) -> Array:
            scores = np.column_stack([np.zeros(len(rows)), design(rows) @ weights])
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            result: Array = shares / shares.sum(axis=1, keepdims=True)
            return result

        return copied

"""Extraction: how good a copy of the model do its answers buy, and for how many questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from assay.assessment.extraction.thief import Thief
from assay.assessment.goals.base import Goal, Seen
from assay.core.clock import stream
from assay.core.errors import DataError

if TYPE_CHECKING:
    from assay.assessment.case import Case

_FEWEST = 40


class Extraction(Goal, name="extraction", techniques=("AML.T0024.002", "AML.T0005.001")):
    """Fidelity and AUC of a thief's copy against the number of queries, on rows that neither has seen."""

    order: ClassVar[int] = 40

    def look(self, case: Case) -> Seen:
        """Return what a thief reaches who owns half of the test rows; the copy is judged on the other half."""
        n = len(case.x_test)
        if n < _FEWEST:
            raise DataError(f"{n} test rows are too few to split between thief and judge", remedy=f"Give {_FEWEST}")
        order = stream(case.seed, "extraction", "split").permutation(n)
        own, judged = order[: n // 2], order[n // 2 :]
        x = case.x_test.reshape(n, -1)
        result = Thief(budgets=case.profile.thief_queries)(
            case.predictor.limited(None), x[own], x[judged], case.y_test[judged], case.region, seed=case.seed
        )
        return Seen(
            result.measures, (result.curve,),
            parameters={"budgets": list(case.profile.thief_queries), "own_rows": len(own), "judged_on": len(judged)},
        )  # fmt: skip

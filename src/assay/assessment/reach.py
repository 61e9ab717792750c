"""What of a case a live endpoint answers: rows that its guards refuse are no rows to attack with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.core.errors import BudgetError, DataError
from assay.core.measure import Measure
from assay.models.guarded import answered
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.case import Case
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_BLOCK = 50


def is_live(predictor: Predictor) -> bool:
    """Return whether a predictor asks an endpoint, whose guards may refuse rows."""
    return bool(predictor.address)


def reached(case: Case, *, train: bool = True) -> tuple[Case, tuple[Measure, ...]]:
    """Return the case with the rows that its endpoint answers, and the share of each table that it refuses.

    Most rows that are asked are those that a profile audits; they are drawn. train: ask the training rows too. Where the
    key's budget ends, the rows are those asked by then. Raises DataError when no row of a table is answered.
    """
    x, y, refused = _kept(case, case.x_test, case.y_test, "test")
    measures = [refused]
    reach = replace(case, x_test=x, y_test=y)
    if train:
        x, y, refused = _kept(case, case.x_train, case.y_train, "train")
        measures.append(refused)
        reach = replace(reach, x_train=x, y_train=y)
    return reach, tuple(measures)


def _kept(case: Case, x: Array, y: Labels, name: str) -> tuple[Array, Labels, Measure]:
    drawn = case.draw(len(x), case.profile.audit_rows, "reach", name)
    asked, got = _asked(case.predictor.limited(None), x[drawn])
    if not got.any():
        raise DataError(
            f"the endpoint answers none of {asked} {name} rows", where=name, remedy="Is this its contract and key?"
        )
    kept = drawn[got]
    refused = asked - len(kept)
    share = Measure(f"rows_refused@{name}", refused / asked, *clopper_pearson(refused, asked), asked)
    return x[kept], y[kept], share


def _asked(predictor: Predictor, x: Array) -> tuple[int, NDArray[np.bool_]]:
    """Return how many rows were asked before the budget ended, and which were answered, (n,)."""
    got = np.zeros(len(x), dtype=bool)
    for start in range(0, len(x), _BLOCK):
        try:
            got[start : start + _BLOCK] = answered(predictor, x[start : start + _BLOCK])[1]
        except BudgetError:
            return start, got
    return len(x), got

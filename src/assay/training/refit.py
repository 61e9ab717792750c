"""Fitting a recipe again on parts of the data, in the sandbox: what shadow models and poisoning curves are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.core.errors import DataError
from assay.training.isolation import Limits
from assay.training.job import refit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.models.refit import Sets


@dataclass(frozen=True, slots=True)
class IsolatedRefit:
    """Fresh fits of a recipe (``file.py:function``), all in one sandboxed job; a ``models.refit.Refit``.

    classes: number of classes (0: from the labels). columns, categorical: as in ``job.train``. variant: of the
    recipe's estimator, as ``training.variants`` reads it.
    """

    recipe: str
    engine: str = "auto"
    limits: Limits | None = None
    classes: int = 0
    columns: Sequence[str] = ()
    categorical: Sequence[int] = ()
    variant: Mapping[str, object] = field(default_factory=dict)

    def probabilities(
        self, sets: Sets, x: NDArray[Any], queries: NDArray[Any], *, seed: int, fewest: int | None = None
    ) -> NDArray[np.float64]:
        """Return the probabilities (k, q, classes) that k fits give to ``queries`` (q, d).

        sets: for each fit, the rows of ``x`` (n, d) that it sees and their labels; fewest: as in ``models.refit.Refit``.
        Raises DataError, UnsupportedError (the variant does not fit the recipe) or JobError.
        """
        if not sets or any(len(labels) == 0 for _, labels in sets):
            raise DataError("there is nothing to fit again on", remedy="Give one or more sets of rows")
        classes = self.classes or 1 + max(int(labels.max()) for _, labels in sets)
        with tempfile.TemporaryDirectory(prefix="assay-refit-") as work:
            return refit(
                self.recipe, list(sets), x, queries, classes=classes, work=Path(work).resolve(),
                seed=seed % 2**31, engine=self.engine, limits=self.limits, columns=self.columns, categorical=self.categorical,
                fewest=fewest, variant=self.variant,
            )  # fmt: skip

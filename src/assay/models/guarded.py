"""A guarded endpoint as an attacker sees it who knows the guards: a refusal is an answer too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.core.errors import BudgetError, Refused, RowsRefused
from assay.models.predictor import Derived, Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.models.predictor import Array


def answered(predictor: Predictor, rows: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the answers to rows (m, ...), (m, c), and which rows have one, (m,); NaN where there is none.

    Rows that a guard refuses for what they hold have none; the others are asked again without them. Raises whatever else
    the predictor raises.
    """
    import numpy as np

    answers, got = np.full((len(rows), predictor.classes), np.nan), np.zeros(len(rows), dtype=bool)
    # As many as go into one question: which of its rows are refused is told by their places in it.
    size = predictor.batch or max(1, len(rows))
    waiting = [np.arange(start, min(start + size, len(rows))) for start in reversed(range(0, len(rows), size))]
    while waiting:
        these = waiting.pop()
        try:
            answers[these] = predictor.probabilities(rows[these])
            got[these] = True
        except RowsRefused as error:
            named = np.isin(np.arange(len(these)), error.rows)
            if named.any():
                waiting.append(these[~named])
            elif len(these) > 1:
                waiting += [these[len(these) // 2 :], these[: len(these) // 2]]
        waiting = [w for w in waiting if len(w)]
    return answers, got


class Guarded(Derived):
    """Asks a guarded model row by row; a refused row answers as class ``refused_as``, so that it never succeeds.

    This is the adaptive attacker: it stays where the guards let it through. refused_as: None for no class more than
    another. refused: rows refused so far.
    stopped: why the endpoint answers nobody any more ("": it still does), as when a quota is spent.
    """

    def __init__(self, model: Predictor, refused_as: int | None) -> None:
        super().__init__(model.classes)
        self.address = model.address
        self._model, self._refused_as = model, refused_as
        self.refused = 0
        self.stopped = ""

    def _probabilities(self, x: Array) -> Array:
        import numpy as np

        answers = np.full((len(x), self.classes), 1.0 / self.classes)
        if self._refused_as is not None:
            answers[:] = np.arange(self.classes) == self._refused_as
        for i in range(len(x)):
            if self.stopped:
                self.refused += len(x) - i
                break
            try:
                answers[i] = self._model.probabilities(x[i : i + 1])[0]
            except BudgetError as error:
                self.stopped = error.message
                self.refused += 1
            except Refused:
                self.refused += 1
        return answers

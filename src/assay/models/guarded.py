"""A guarded endpoint as an attacker sees it who knows the guards: a refusal is an answer too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.core.errors import BudgetError, Refused, UnsupportedError
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.models.predictor import Array


class Guarded(Predictor):
    """Asks a guarded model row by row; a refused row answers as class ``refused_as``, so that it never succeeds.

    This is the adaptive attacker: it stays where the guards let it through. refused: rows refused so far.
    stopped: why the endpoint answers nobody any more ("": it still does), as when a quota is spent.
    """

    def __init__(self, model: Predictor, refused_as: int) -> None:
        super().__init__(model.classes)
        self._model, self._refused_as = model, refused_as
        self.refused = 0
        self.stopped = ""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return False: what is refused as which class is for the attacker to say."""
        del model
        return False

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> Predictor:
        """Raise UnsupportedError: make it from a predictor."""
        del model, contract, options
        raise UnsupportedError("a guarded model is made from a predictor", remedy="Use Guarded(predictor, class)")

    def _probabilities(self, x: Array) -> Array:
        import numpy as np

        answers = np.zeros((len(x), self.classes))
        answers[:, self._refused_as] = 1.0
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

"""Several models that answer together, by the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from assay.core.errors import SettingError
from assay.models.predictor import Derived, Predictor
from assay.models.white_box import NumpyWhiteBox

if TYPE_CHECKING:
    from assay.models.predictor import Array


class Ensemble(Derived):
    """Answers the mean of its members' probabilities; an attacker from inside follows the slope of that mean."""

    differentiable: ClassVar[bool] = True

    def __init__(self, members: Sequence[Predictor]) -> None:
        if not members or len({m.classes for m in members}) != 1:
            raise SettingError("an ensemble needs members of one number of classes", remedy="Give one or more")
        super().__init__(members[0].classes, batch=members[0].batch)
        self.members = tuple(m.limited(None) for m in members)

    def _probabilities(self, x: Array) -> Array:
        mean: Array = np.mean([m.probabilities(x) for m in self.members], axis=0)
        return mean

    def white_box(self) -> EnsembleWhiteBox:
        """Return the ensemble from inside. Raises UnsupportedError when a member has no gradients."""
        return EnsembleWhiteBox(self)


class EnsembleWhiteBox(NumpyWhiteBox):
    """The log of the members' mean probability, and its slope through each of them."""

    def __init__(self, outer: Ensemble) -> None:
        super().__init__(outer)
        self._inner = [m.white_box() for m in outer.members]

    def _logits(self, x: Any) -> Any:
        shares = [self.softmax(w.array(w.logits(w.tensor(x)))) for w in self._inner]
        return np.log(np.maximum(np.mean(shares, axis=0), 1e-300))

    def _pull(self, x: Any, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        logits = self._logits(x)
        pulled = weigh(logits) / np.exp(logits) / len(self._inner)
        total: Any = 0.0
        for white in self._inner:

            def inner(z: Any, white: Any = white) -> Any:
                shares = self.softmax(white.array(z))
                # d(log mean p_c)/dz = p_c (1[c] - p) / (m mean p_c), summed over the classes that are pulled at.
                drawn = pulled * shares
                return white.tensor(drawn - shares * drawn.sum(axis=1, keepdims=True))

            total = total + white.array(white.pull(white.tensor(x), inner)[1])
        return logits, total

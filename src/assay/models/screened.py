"""A model behind a detector, as an attacker sees it who knows the detector: a refusal is an answer too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from assay.models.predictor import Derived, Predictor
from assay.models.white_box import NumpyWhiteBox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Array


class Screen(Protocol):
    """What refuses suspicious inputs: those that score above ``threshold``."""

    @property
    def threshold(self) -> float:
        """The score above which a sample is refused."""

    @property
    def spread(self) -> float:
        """A difference of scores that counts as large."""

    def score(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return how suspicious each sample (n, ...) is, (n,)."""

    def slope(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the gradient of the score by each sample, or an estimate of it, shape of x."""


class Screened(Derived):
    """Asks a model and its screen; a refused sample answers as class ``refused_as``, so that it never succeeds.

    From inside, the score of a sample that would be refused enters the logits, so that an attack that lowers the right
    class's logit leaves the refused region too. weight: how heavily. The attacker runs the screen at home: only the
    model's answers are counted.
    """

    differentiable: ClassVar[bool] = True

    def __init__(self, model: Predictor, screen: Screen, refused_as: int, *, weight: float = 5.0) -> None:
        super().__init__(model.classes, batch=model.batch)
        self.model, self.screen, self.refused_as, self.weight = model.limited(None), screen, refused_as, weight

    def _probabilities(self, x: Array) -> Array:
        answers = self.model.probabilities(x).copy()
        refused = self.screen.score(x) > self.screen.threshold
        answers[refused] = np.eye(self.classes)[self.refused_as]
        return answers

    def white_box(self) -> ScreenedWhiteBox:
        """Return model and screen from inside. Raises UnsupportedError for a model without gradients."""
        return ScreenedWhiteBox(self)


class Refusing(Derived):
    """A model and its screen as users see them: what is refused is answered by one class more, the last."""

    def __init__(self, model: Predictor, screen: Screen) -> None:
        super().__init__(model.classes + 1, batch=model.batch)
        self.model, self.screen = model.limited(None), screen

    def facing(self, label: int) -> Screened:
        """Return what an attacker faces whose samples are of class ``label``: a refusal gains nothing."""
        return Screened(self.model, self.screen, label)

    def _probabilities(self, x: Array) -> Array:
        answers = np.pad(self.model.probabilities(x), ((0, 0), (0, 1)))
        refused = self.screen.score(x) > self.screen.threshold
        answers[refused] = np.eye(self.classes)[-1]
        return answers


class ScreenedWhiteBox(NumpyWhiteBox):
    """The logits, with that of ``refused_as`` raised above all others by as much as the score exceeds its threshold."""

    def __init__(self, outer: Screened) -> None:
        super().__init__(outer)
        self._outer, self._inner = outer, outer.model.white_box()

    def _logits(self, x: Any) -> Any:
        return self._raise(self._inner.array(self._inner.logits(self._inner.tensor(x))), self._over(x))[0]

    def _pull(self, x: Any, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        over, own = self._over(x), self._outer.refused_as
        kept: list[Any] = []

        def inner(z: Any) -> Any:
            raised, rival, changed = self._raise(self._inner.array(z), over)
            pulled = np.array(weigh(raised), dtype=np.float64)
            share = np.where(changed, pulled[:, own], 0.0)
            pulled[:, own] -= share
            # The raised logit is the highest other plus what the score adds: its pull goes to both.
            pulled[np.arange(len(pulled)), rival] += share
            kept.extend((raised, share))
            return self._inner.tensor(pulled)

        _, slope = self._inner.pull(self._inner.tensor(x), inner)
        raised, share = kept
        total = self._inner.array(slope)
        at = np.flatnonzero(share)
        if len(at):
            factor = (share[at] * self._outer.weight / self._outer.screen.spread).reshape(-1, *[1] * (x.ndim - 1))
            total[at] += factor * self._outer.screen.slope(x[at])
        return raised, total

    def _over(self, x: Any) -> Any:
        screen = self._outer.screen
        return self._outer.weight * (screen.score(x) - screen.threshold) / screen.spread

    def _raise(self, z: Any, over: Any) -> tuple[Any, Any, Any]:
        own = self._outer.refused_as
        others = z.copy()
        others[:, own] = -np.inf
        rival = others.argmax(axis=1)
        level = others.max(axis=1) + over
        changed = (over > 0) & (level > z[:, own])
        raised = z.copy()
        raised[changed, own] = level[changed]
        return raised, rival, changed

"""How much the answer changes when the input loses detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.clock import stream
from assay.core.settings import OneOf, Within, setting
from assay.models.transforms.bit_depth import BitDepth
from assay.models.transforms.median import Median
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor
    from assay.models.transforms.base import Transform
    from assay.training.detectors.base import Array, Embedding, Labels


@dataclass(frozen=True, slots=True)
class Squeezing(Detector, name="squeezing"):
    """Largest L1 distance between the answer and that to a squeezed input. Xu, Evans & Qi 2018.

    Squeezers: fewer levels between the least and greatest clean value, and for images a median.
    """

    rate: float = rate_setting()
    held: float = held_setting()
    bits: int = setting(3, Within(1, 16), "Levels are 2 to this power.")
    size: int = setting(3, OneOf((2, 3, 4, 5)), "Side of the median's window, for images.")

    def learn(
        self, model: Predictor, x: Array, y: Labels, embedding: Embedding | None, generator: np.random.Generator
    ) -> Scorer:
        """Return the distance of the model's answers; nothing but the range is learnt from the samples."""
        del y, embedding, generator
        low, high = float(x.min()), float(x.max())
        squeezers: list[Transform] = [BitDepth(bits=self.bits, low=low, high=high if high > low else low + 1.0)]
        if x.ndim > 2:
            squeezers.append(Median(size=self.size))
        return _Change(model.limited(None), squeezers)


class _Change(Scorer):
    def __init__(self, model: Predictor, squeezers: list[Transform]) -> None:
        self._model, self._squeezers = model, squeezers

    def score(self, x: NDArray[Any]) -> Array:
        largest: Array = self._changes(x)[0].max(axis=1)
        return largest

    def slope(self, x: NDArray[Any]) -> Array:
        """Return the slope through the model and what each squeezer offers in place of its own."""
        if not self._model.differentiable:
            return super().slope(x)
        changes, signs, squeezed = self._changes(x)
        white, worst = self._model.white_box(), changes.argmax(axis=1)
        total = np.zeros(np.shape(x))

        def pulled(rows: Array, sign: Array) -> Array:
            def weigh(z: Any) -> Any:
                shares, way = white.softmax(z), white.tensor(sign)
                return shares * (way - (shares * way).sum(axis=1, keepdims=True))

            return white.array(white.pull(white.tensor(rows), weigh)[1])

        for number, squeezer in enumerate(self._squeezers):
            at = np.flatnonzero(worst == number)
            if len(at):
                back = squeezer.pull(x[at], pulled(squeezed[number][at], signs[number][at]))
                total[at] = pulled(x[at], signs[number][at]) - back
        return total

    def _changes(self, x: NDArray[Any]) -> tuple[Array, list[Array], list[Array]]:
        """Return the distances (n, squeezers), and for each squeezer the signs of the differences and the inputs."""
        plain, nothing = self._model.probabilities(x), stream(0, "squeezing")
        squeezed = [s.apply(np.asarray(x, dtype=np.float64), nothing) for s in self._squeezers]
        gaps = [plain - self._model.probabilities(rows) for rows in squeezed]
        return np.stack([np.abs(g).sum(axis=1) for g in gaps], axis=1), [np.sign(g) for g in gaps], squeezed

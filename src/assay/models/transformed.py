"""A model behind input transformations, as it is served, and from inside as an attacker sees it who knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from assay.core.clock import stream
from assay.core.errors import SettingError
from assay.models.predictor import Derived, Predictor
from assay.models.white_box import NumpyWhiteBox

if TYPE_CHECKING:
    from assay.models.predictor import Array
    from assay.models.transforms.base import Transform


class Transformed(Derived):
    """Answers what ``model`` says of the input after each of ``transforms`` in turn.

    draws: how often an attacker from inside repeats random transformations for one slope (expectation over
    transformation, Athalye et al. 2018). Random ones are drawn anew at every call, from one seeded stream.
    """

    differentiable: ClassVar[bool] = True

    def __init__(self, model: Predictor, transforms: Sequence[Transform], *, draws: int = 16, seed: int = 0) -> None:
        super().__init__(model.classes, batch=model.batch)
        if draws < 1:
            raise SettingError(f"draws cannot be {draws}", remedy="Give 1 or more")
        self.model, self.transforms, self.seed = model.limited(None), tuple(transforms), seed
        self.draws = draws if any(t.random for t in self.transforms) else 1
        self._generator = stream(seed, "transformed")

    def limited(self, limit: int | None) -> Predictor:
        """Return the same model, counting from zero and drawing from the start of its stream."""
        other = super().limited(limit)
        if isinstance(other, Transformed):
            other._generator = stream(self.seed, "transformed")  # noqa: SLF001 - one of ours
        return other

    def transform(self, x: Array) -> list[Array]:
        """Return x (n, ...) and what each transformation makes of it in turn, one array each."""
        stages: list[Array] = [np.asarray(x, dtype=np.float64)]
        for transform in self.transforms:
            stages.append(transform.apply(stages[-1], self._generator))
        return stages

    def _probabilities(self, x: Array) -> Array:
        return self.model.probabilities(self.transform(x)[-1])

    def white_box(self) -> TransformedWhiteBox:
        """Return the model from inside, its transformations known. Raises UnsupportedError without a slope behind them."""
        return TransformedWhiteBox(self)


class TransformedWhiteBox(NumpyWhiteBox):
    """Goes back through the transformations by what each offers in place of its slope, averaged over random draws."""

    def __init__(self, outer: Transformed) -> None:
        super().__init__(outer)
        self._outer, self._inner = outer, outer.model.white_box()

    def _logits(self, x: Any) -> Any:
        answers = [self._inner.array(self._inner.logits(self._last(x))) for _ in range(self._outer.draws)]
        return (
            np.log(np.maximum(np.mean([self.softmax(a) for a in answers], axis=0), 1e-300))
            if answers[1:]
            else answers[0]
        )

    def _pull(self, x: Any, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        logits, slopes = [], []
        for _ in range(self._outer.draws):
            stages = self._outer.transform(x)
            seen, slope = self._inner.pull(
                self._inner.tensor(stages[-1]), lambda z: self._inner.tensor(weigh(self._inner.array(z)))
            )
            back = self._inner.array(slope)
            for transform, before in zip(self._outer.transforms[::-1], stages[-2::-1], strict=True):
                back = transform.pull(before, back)
            logits.append(self._inner.array(seen))
            slopes.append(back)
        return np.mean(logits, axis=0), np.mean(slopes, axis=0)

    def _last(self, x: Any) -> Any:
        return self._inner.tensor(self._outer.transform(x)[-1])

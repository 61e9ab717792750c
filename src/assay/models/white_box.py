"""The model from inside: logits, and gradients of any function of them, in arrays of the model's own library.

What it means to differentiate is the same for a torch module and for a linear model in numpy: a *pull* takes the
derivative of some function by the logits, (n, classes), back to the input. Attacks choose the function, write its
derivative by the logits in the names that numpy and torch share (``xp.where``, ``xp.clip``, ``axis=`` ...), and so
run on the model's device without an array leaving it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from assay.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Noise:
    """Random numbers in the model's library: standard ``normal`` and ``uniform`` in [0, 1), of a given shape."""

    normal: Callable[..., Any]
    uniform: Callable[..., Any]


class WhiteBox(ABC):
    """A differentiable model from inside. Everything it takes and gives is an array of ``xp``: numpy, or torch.

    Rows asked, with or without a gradient, count in the predictor's budget as any other, and never pass it.
    """

    def __init__(self, predictor: Predictor, xp: Any) -> None:
        self.xp = xp
        self.classes = predictor.classes
        self.batch = predictor.batch
        self._predictor = predictor
        self._order: Any = None

    @abstractmethod
    def tensor(self, x: NDArray[Any]) -> Any:
        """Return numbers as an array of the model's library, type and device."""

    @abstractmethod
    def index(self, values: NDArray[Any]) -> Any:
        """Return whole numbers or flags as an array of the model's library, on its device."""

    @abstractmethod
    def array(self, tensor: Any) -> NDArray[Any]:
        """Return an array of the model's library as one of numpy; floating numbers as float64."""

    @abstractmethod
    def noise(self, seed: int) -> Noise:
        """Return a seeded source of random numbers, on the model's device."""

    @abstractmethod
    def _logits(self, x: Any) -> Any:
        """Return the logits (n, classes) of samples x (n, ...)."""

    @abstractmethod
    def _pull(self, x: Any, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Return the logits of x, and the gradient by x of the sum of ``weigh(logits) * logits``, weights held still."""

    @final
    def logits(self, x: Any) -> Any:
        """Return the logits (n, classes) of samples x (n, ...). Raises BudgetError before asking anything.

        Their softmax is what the predictor answers, or orders the classes as it does.
        """
        self._ask(x)
        return self._logits(x)

    @final
    def pull(self, x: Any, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Return the logits (n, classes) of samples x (n, ...), and the gradient of a function of them, shape of x.

        weigh: takes the logits and returns the function's derivative by them, (n, classes). A row counts as one
        query, forward and backward together. Raises BudgetError before asking anything.
        """
        self._ask(x)
        logits, slope = self._pull(x, weigh)
        if slope.shape != x.shape:
            raise DataError(f"the model's gradient has shape {tuple(slope.shape)} for samples of {tuple(x.shape)}")
        return logits, slope

    @final
    def hot(self, labels: Any) -> Any:
        """Return labels (n,) of the model's library or numpy's as rows of zeros with a one, (n, classes)."""
        import numpy as np

        if self._order is None:
            self._order = self.index(np.arange(self.classes))
        chosen = self.index(labels) if isinstance(labels, np.ndarray) else labels
        return self.xp.where(self._order == chosen.reshape(-1, 1), 1.0, 0.0)

    @final
    def softmax(self, logits: Any) -> Any:
        """Return the probabilities (n, classes) of logits."""
        raised = self.xp.exp(logits - self.xp.amax(logits, axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def _ask(self, x: Any) -> None:
        self._predictor.budget.spend(len(x))
        self._predictor.calls += 1


class NumpyWhiteBox(WhiteBox):
    """A model in numpy from inside, in float64. Subclasses write ``_logits`` and ``_pull``."""

    def __init__(self, predictor: Predictor) -> None:
        import numpy as np

        super().__init__(predictor, np)

    def tensor(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return numbers as float64."""
        return self.index(x).astype("float64")

    def index(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return whole numbers or flags as they are."""
        made: NDArray[Any] = self.xp.asarray(values)
        return made

    def array(self, tensor: Any) -> NDArray[Any]:
        """Return the array as it is."""
        return self.index(tensor)

    def noise(self, seed: int) -> Noise:
        """Return a source of random numbers; the same seed gives the same numbers."""
        generator = self.xp.random.default_rng(seed)
        return Noise(
            normal=lambda *shape: generator.standard_normal(shape), uniform=lambda *shape: generator.random(shape)
        )

"""The Predictor: the one running form of a model that every attack, measure and guard sees.

It counts what it is asked, asks in batches, and stops at a hard budget. Inputs are in model space
(``assay.contract.contract``): ``(n, d)`` rows for tables, ``(n, *shape)`` for tensors.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, final

from assay.core.budget import Budget
from assay.core.discovery import Control, discover
from assay.core.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract
    from assay.models.white_box import WhiteBox

    Array: TypeAlias = NDArray[Any]

_NEAR = 1e-4


class Predictor(Control, package="assay.models"):
    """A model that answers with class probabilities. Adapters implement ``accepts``, ``_wrap`` and ``_probabilities``.

    classes: number of classes. budget: counts rows asked (``queries``) and refuses beyond its limit.
    calls: number of calls to the model. address: URL of a live one. batch: most rows in one call (None: all at once).
    """

    differentiable: ClassVar[bool] = False
    address: str = ""

    def __init__(self, classes: int, *, budget: Budget | None = None, batch: int | None = None) -> None:
        self.classes = classes
        self.budget = budget or Budget()
        self.batch = batch
        self.calls = 0

    @classmethod
    @abstractmethod
    def accepts(cls, model: object) -> bool:
        """Return whether this adapter can run ``model``, without importing a heavy library to find out."""

    @classmethod
    @abstractmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> Predictor:
        """Return the predictor of ``model``. Raises InputError when it cannot be run."""

    @abstractmethod
    def _probabilities(self, x: Array) -> Array:
        """Return class probabilities (n, classes) of one batch; counting is done by the caller."""

    @property
    def queries(self) -> int:
        """Rows asked so far."""
        return self.budget.spent

    @final
    def probabilities(self, x: Array) -> Array:
        """Return class probabilities, (n, classes), for samples (n, ...).

        Raises BudgetError before asking anything when n rows would pass the budget, and DataError
        when the model answers in another shape or with what is no probability.
        """
        import numpy as np

        n = len(x)
        self.budget.spend(n)
        if n == 0:
            return np.empty((0, self.classes))
        size = self.batch or n
        parts = []
        for start in range(0, n, size):
            self.calls += 1
            part = np.asarray(self._probabilities(x[start : start + size]), dtype=np.float64)
            if part.shape != (min(size, n - start), self.classes):
                raise DataError(
                    f"the model answered in shape {part.shape} for {min(size, n - start)} rows and {self.classes} classes",
                    remedy="Return one probability per class and row",
                )
            # Not so for NaN.
            if not ((part >= -_NEAR) & (part <= 1.0 + _NEAR)).all():
                raise DataError(
                    f"the model answered with values that are no probabilities, from {part.min():.3g} to {part.max():.3g}",
                    remedy="Return finite shares within [0, 1], as softmax makes them of scores",
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @final
    def labels(self, x: Array) -> NDArray[np.intp]:
        """Return the index of the most probable class of each sample, (n,)."""
        best: NDArray[np.intp] = self.probabilities(x).argmax(axis=1)
        return best

    def noisy(self, row: Array, deviation: Array, seed: int) -> Callable[[int], Any]:
        """Return a source of n copies (n, d) of a row (d,) under Gaussian noise, in arrays that ``probabilities`` takes.

        deviation: of the noise by value, (d,). The same seed gives the same noise, on the same kind of device.
        """
        import numpy as np

        generator, middle, spread = np.random.default_rng(seed), row.astype(np.float32), deviation.astype(np.float32)
        return lambda n: middle + spread * generator.standard_normal((n, len(row)), dtype=np.float32)

    def limited(self, limit: int | None) -> Predictor:
        """Return a predictor of the same model that counts from zero, up to ``limit`` rows."""
        # Not copy.copy, which goes through pickling, and a running session cannot be pickled.
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.budget, other.calls = Budget(limit), 0
        return other

    def apart(self) -> Predictor:
        """Return a predictor of the same model that counts from zero and shares no connection, for another thread."""
        return self.limited(None)

    def close(self) -> None:
        """Let go of what the model holds open, as an endpoint does its connection."""

    def white_box(self) -> WhiteBox:
        """Return the model from inside, for attacks that know its weights; what it is asked is counted here.

        Raises UnsupportedError for a model without gradients.
        """
        raise UnsupportedError(
            f"{type(self).__name__} gives no gradients",
            remedy="Use a black-box attack, or a torch module, a linear model or an MLPClassifier",
        )

    @final
    def gradient(self, x: Array, labels: NDArray[np.intp]) -> Array:
        """Return d(cross-entropy)/dx, shape of ``x``; each row counts as one query.

        Raises UnsupportedError for a model without gradients.
        """
        white = self.white_box()

        def weigh(logits: Any) -> Any:
            return white.softmax(logits) - white.hot(labels)

        slope: Array = white.array(white.pull(white.tensor(x), weigh)[1])
        return slope


class Derived(Predictor):
    """A predictor that its caller makes from other predictors; no model is wrapped as one."""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return False."""
        del model
        return False

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> Predictor:
        """Raise UnsupportedError."""
        del model, contract, options
        raise UnsupportedError(f"{cls.__name__} is made from predictors", remedy=f"Call {cls.__name__}(...) with them")


def predictor(
    model: object,
    *,
    contract: Contract | None = None,
    budget: int | None = None,
    batch: int | None = None,
    **options: object,
) -> Predictor:
    """Return the Predictor of an estimator, callable, ONNX file, torch module or endpoint URL.

    contract: describes the input; needed where the model does not say its number of classes or where
    it wants a data frame. budget: most rows that may be asked. batch: most rows in one call.
    options: adapter's own, such as ``key`` (API key of an endpoint) or ``classes``.
    Raises UnsupportedError when no adapter accepts the model.
    """
    if isinstance(model, Predictor):
        return model.limited(budget)
    for adapter in discover(Predictor).values():
        if adapter.accepts(model):
            wrapped = adapter.wrap(model, contract=contract, **options)
            wrapped.budget = Budget(budget)
            wrapped.batch = batch if batch is not None else wrapped.batch
            return wrapped
    if isinstance(model, (str, os.PathLike)):
        path = os.fspath(model)
        raise UnsupportedError(
            "is no file that is run as it is", where=path, remedy=f"Convert it: assay convert {path}"
        )
    raise UnsupportedError(
        f"a {type(model).__module__}.{type(model).__qualname__} is no model that Assay can run",
        remedy="Give a fitted scikit-learn estimator, a callable, an .onnx file, a torch module or an http:// URL",
    )

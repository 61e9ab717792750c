"""Any Python function of a batch as a Predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from assay.contract.table import first_line
from assay.core.errors import DataError, SettingError
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract
    from assay.models.predictor import Array


class Function(Predictor, name="function"):
    """A callable that takes samples (n, ...) and returns probabilities (n, classes), or labels (n,)."""

    def __init__(self, function: Callable[[Array], Any], classes: int) -> None:
        super().__init__(classes)
        self._function = function

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is a plain callable: a function, method or functools.partial."""
        return callable(model) and not hasattr(model, "predict") and not hasattr(model, "state_dict")

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> Function:
        """Return the predictor. The number of classes comes from the contract or from ``classes=``."""
        if not callable(model):
            raise SettingError("not a callable")
        return cls(model, classes_of(contract, options))

    def _probabilities(self, x: Array) -> Array:
        return as_probabilities(self._function(x), self.classes)


def classes_of(contract: Contract | None, options: dict[str, object]) -> int:
    """Return the number of classes that the options or the contract give. Raises SettingError without either."""
    given = options.get("classes")
    if isinstance(given, int) and not isinstance(given, bool) and given >= 2:
        return given
    if contract is not None and contract.target is not None:
        return len(contract.target.classes)
    raise SettingError("the model does not say how many classes it has", remedy="Give classes=2, or a contract")


def as_probabilities(answer: object, classes: int) -> NDArray[np.float64]:
    """Return an answer as probabilities (n, classes): labels (n,) become one-hot, (n, 1) the positive's share."""
    import numpy as np

    try:
        values = np.asarray(answer, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the model answers with something else than numbers ({first_line(error)})",
            remedy="Return probabilities (n, classes), or class indices (n,)",
        ) from error
    if values.ndim == 1 and (classes != 2 or not ((values > 0) & (values < 1)).any()):
        if not ((values >= 0) & (values < classes) & (values % 1 == 0)).all():
            raise DataError(
                f"the model answers with labels from {values.min():g} to {values.max():g} and has {classes} classes",
                remedy="Return class indices from 0, or probabilities (n, classes)",
            )
        hot: NDArray[np.float64] = np.zeros((len(values), classes))
        hot[np.arange(len(values)), values.astype(np.intp)] = 1.0
        return hot
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1 and classes == 2):
        share = values.reshape(-1)
        return np.stack([1.0 - share, share], axis=1)
    return values

"""Fitted estimators with scikit-learn's API (scikit-learn, XGBoost, LightGBM) as Predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.core.errors import DataError, DependencyError, UnsupportedError
from assay.models.function import as_probabilities
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.models.predictor import Array
    from assay.models.white_box import WhiteBox


class Estimator(Predictor, name="estimator"):
    """A fitted classifier with ``predict_proba`` (or, failing that, ``predict``) and ``classes_``."""

    def __init__(self, model: Any, classes: int, *, contract: Contract | None = None) -> None:
        super().__init__(classes)
        self.model = model
        self._frame_contract = contract

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` has scikit-learn's prediction methods."""
        fitted = hasattr(model, "fit") or hasattr(model, "classes_")
        return hasattr(model, "predict") and fitted and not hasattr(model, "state_dict")

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **_options: object) -> Estimator:
        """Return the predictor. Raises DataError for an estimator that was not fitted.

        An estimator fitted on a data frame with text categories is asked with one, decoded by the contract.
        """
        classes = getattr(model, "classes_", None)
        if classes is None:
            raise DataError(
                "the estimator is not fitted as a classifier", where=type(model).__name__, remedy="Call fit first"
            )
        wants_frame = contract is not None and contract.tensor is None and _fitted_on_words(model, contract)
        return cls(model, len(classes), contract=contract if wants_frame else None)

    def _probabilities(self, x: Array) -> Array:
        asked: Any = x.reshape(len(x), -1) if x.ndim > 2 else x
        if self._frame_contract is not None:
            from assay.contract.encode import decode

            asked = decode(self._frame_contract, x)
        if hasattr(self.model, "predict_proba"):
            return as_probabilities(self.model.predict_proba(asked), self.classes)
        import numpy as np

        labels = np.searchsorted(self.model.classes_, self.model.predict(asked))
        return as_probabilities(labels, self.classes)

    def white_box(self) -> WhiteBox:
        """Return a linear model or multi-layer perceptron, scaled or not, from inside.

        Raises UnsupportedError for any other estimator, and for one fitted on words.
        """
        from assay.models.dense import dense

        if self._frame_contract is not None:
            raise UnsupportedError("an estimator fitted on words gives no gradients", remedy="Use a black-box attack")
        return dense(self.model, self)


def _fitted_on_words(model: object, contract: Contract) -> bool:
    names = getattr(model, "feature_names_in_", None)
    return names is not None and list(names) == [f.name for f in contract.features]


def local_path_of(model: object) -> str:
    """Return the path of a model given as text or path, "" for anything else."""
    import os

    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    return ""


def need(library: str, extra: str) -> DependencyError:
    """Return the error that says which extra brings a library."""
    return DependencyError(f"{library} is not installed", remedy=f"pip install 'assay[{extra}]'")

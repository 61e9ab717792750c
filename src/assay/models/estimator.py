"""Fitted estimators with scikit-learn's API (scikit-learn, XGBoost, LightGBM) as Predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.contract.table import as_column, as_text, first_line
from assay.core.errors import DataError, DependencyError, UnsupportedError
from assay.models.function import as_probabilities
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract
    from assay.models.predictor import Array
    from assay.models.white_box import WhiteBox


class Estimator(Predictor, name="estimator"):
    """A fitted classifier with ``predict_proba`` (or, failing that, ``predict``) and ``classes_``.

    names: columns of the data frame that it was fitted on, () for an array; rows are then given to it under these
    names, decoded by the contract where there is one. places (k,): where each of its classes stands among ``classes``.
    """

    def __init__(
        self, model: Any, classes: int, *, places: NDArray[np.intp], names: tuple[str, ...] = (), contract: Contract | None = None
    ) -> None:  # fmt: skip
        super().__init__(classes)
        self.model = model
        self._places, self._names, self._contract = places, names, contract

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` has scikit-learn's prediction methods."""
        fitted = hasattr(model, "fit") or hasattr(model, "classes_")
        return hasattr(model, "predict") and fitted and not hasattr(model, "state_dict")

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **_options: object) -> Estimator:
        """Return the predictor. Raises DataError for an estimator that was not fitted, or not on the contract's columns.

        An estimator fitted on a data frame is asked with one. Classes come in the order of the contract's target.
        """
        known = getattr(model, "classes_", None)
        if known is None:
            raise DataError(
                "the estimator is not fitted as a classifier",
                where=type(model).__name__,
                remedy="Call fit first, or give a classifier",
            )
        names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
        described = contract if contract is not None and contract.tensor is None else None
        if described is not None:
            _same_columns(model, names, described)
        classes, places = _places(list(known), contract)
        return cls(model, classes, places=places, names=names, contract=described)

    def _probabilities(self, x: Array) -> Array:
        import numpy as np

        try:
            told = self._ask(x)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"the model refuses the rows ({first_line(error)})", where=type(self.model).__name__,
                remedy="Give the contract of the rows that it was fitted on, or a function that prepares them",
            ) from error  # fmt: skip
        if told.shape != (len(x), len(self._places)):
            return told
        answers: Array = np.zeros((len(x), self.classes))
        answers[:, self._places] = told
        return answers

    def _ask(self, x: Array) -> Array:
        """Return the model's answers in the order of its own classes, (n, k)."""
        import numpy as np

        asked: Any = x.reshape(len(x), -1) if x.ndim > 2 else x
        if self._names and self._contract is not None:
            asked = _framed(asked, contract=self._contract, names=self._names)
        elif len(self._names) == asked.shape[1]:
            import pandas as pd

            asked = pd.DataFrame(asked, columns=list(self._names))
        k = len(self._places)
        if hasattr(self.model, "predict_proba"):
            return as_probabilities(self.model.predict_proba(asked), k)
        return as_probabilities(np.searchsorted(self.model.classes_, self.model.predict(asked)), k)

    def takes_rows(self, estimator: Any) -> Any:
        """Return an unfitted estimator of the same frames as one of rows in model space, (n, d)."""
        if not self._names or self._contract is None:
            return estimator
        from functools import partial

        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import FunctionTransformer

        frames = FunctionTransformer(partial(_framed, contract=self._contract, names=self._names))
        steps = estimator.steps if isinstance(estimator, Pipeline) else [("model", estimator)]
        return Pipeline([("frame", frames), *steps])

    def white_box(self) -> WhiteBox:
        """Return a linear model or multi-layer perceptron, scaled or not, from inside.

        Raises UnsupportedError for any other estimator, and for one fitted on the columns in another order.
        """
        from assay.models.dense import dense

        if self._contract is not None and self._names not in ((), tuple(f.name for f in self._contract.features)):
            raise UnsupportedError(
                "an estimator fitted on other columns gives no gradients", remedy="Use a black-box attack"
            )
        return dense(self.model, self)


def _framed(x: Array, *, contract: Contract, names: tuple[str, ...]) -> Any:
    from assay.contract.encode import decode

    return decode(contract, x)[list(names)]


def _same_columns(model: object, names: tuple[str, ...], contract: Contract) -> None:
    """Raise DataError when the model was fitted on columns that are no features of the contract."""
    features = [f.name for f in contract.features]
    other = [name for name in names if name not in features]
    if other:
        raise DataError(
            f"the model was fitted on columns that are no features of the contract: {', '.join(other[:8])}",
            where=type(model).__name__,
            remedy="Give them role: feature in the contract, or fit the model without them",
        )
    width = getattr(model, "n_features_in_", None)
    if not names and width is not None and width != len(features):
        raise DataError(
            f"the model was fitted on {width} columns and the contract has {len(features)} features",
            where=type(model).__name__,
            remedy="Fit the model on assay.contract.encode.encode(contract, table), or on the frame itself",
        )


def _places(known: list[Any], contract: Contract | None) -> tuple[int, NDArray[np.intp]]:
    """Return the number of classes, and where each of the model's stands among them.

    By name in the contract's target where the model knows the names; a model fitted on indices has them already.
    """
    import numpy as np

    target = contract.target if contract is not None else None
    if target is None:
        return len(known), np.arange(len(known))
    words = as_text(as_column(known)).to_pylist()
    if set(words) <= set(target.classes):
        return len(target.classes), np.array([target.classes.index(w) for w in words], dtype=np.intp)
    numbers = np.asarray(known) if np.asarray(known).dtype.kind in "biuf" else np.array([-1])
    indices = numbers.astype(np.intp)
    if not ((indices == numbers) & (indices >= 0) & (indices < len(target.classes))).all():
        raise DataError(
            f"the model knows the classes {', '.join(words[:8])}, the contract {', '.join(target.classes[:8])}",
            remedy="Fit the model on the target's names, or on class indices",
        )
    return len(target.classes), indices


def local_path_of(model: object) -> str:
    """Return the path of a model given as text or path, "" for anything else."""
    import os

    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    return ""


def need(library: str, extra: str) -> DependencyError:
    """Return the error that says which extra brings a library."""
    return DependencyError(f"{library} is not installed", remedy=f"pip install 'assay[{extra}]'")

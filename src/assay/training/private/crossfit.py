"""Cross-fitted outputs: what the model says of a row comes from models that never saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from assay.core.errors import DataError, SettingError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class CrossFitted(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier distilled from the out-of-fold answers of its own copies, so that it answers members as it does others.

    estimator: any classifier with ``predict_proba`` whose ``fit`` takes sample weights. folds: copies, each fitted
    without one part of the rows. views: times that the rows are split anew; answers are averaged over the splits.
    The final copy is fitted on each row once a class, weighted by the probability that models which never saw the row
    give to that class. Tang et al. 2022 (SELENA), with k-fold splits in place of random subsets.
    """

    def __init__(self, estimator: Any, *, folds: int = 5, views: int = 2, random_state: int | None = 0) -> None:
        self.estimator = estimator
        self.folds = folds
        self.views = views
        self.random_state = random_state

    def fit(self, x: Any, y: Any) -> CrossFitted:
        """Fit the copies and distil them; x (n, d), y (n,). Raises DataError for fewer rows than folds."""
        if self.folds < 2 or self.views < 1:
            raise SettingError("folds must be 2 or more and views 1 or more", where="CrossFitted")
        x, y = validate_data(self, x, y, ensure_all_finite="allow-nan")
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(x) < self.folds:
            raise DataError(
                f"{len(x)} rows cannot be split into {self.folds} folds", remedy="Give more rows, or fewer folds"
            )
        soft = np.zeros((len(x), len(self.classes_)))
        for view in range(self.views):
            seed = None if self.random_state is None else self.random_state + view
            for inside, outside in KFold(self.folds, shuffle=True, random_state=seed).split(x):
                copy = clone(self.estimator).fit(x[inside], codes[inside])
                answers = copy.predict_proba(x[outside])
                soft[outside[:, None], copy.classes_] += answers / self.views
        self.model_ = _distilled(clone(self.estimator), x, soft)
        return self

    def predict_proba(self, x: Any) -> Array:
        """Return the distilled model's probabilities, (n, classes)."""
        check_is_fitted(self)
        rows = validate_data(self, x, reset=False, ensure_all_finite="allow-nan")
        answers = np.zeros((len(rows), len(self.classes_)))
        answers[:, self.model_.classes_] = self.model_.predict_proba(rows)
        return answers

    def predict(self, x: Any) -> NDArray[Any]:
        """Return the most probable class of each row, (n,)."""
        best: NDArray[Any] = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return best


def _distilled(model: Any, x: NDArray[Any], soft: Array) -> Any:
    """Fit a model to soft labels (n, c): every row once a class, weighted by that class's probability.

    In a pipeline the weights go to the last step. Raises UnsupportedError for a model that takes none.
    """
    row, code = np.nonzero(soft > 1e-3)
    last, place = model, ""
    while isinstance(last, Pipeline):
        name, last = last.steps[-1]
        place += f"{name}__"
    if not has_fit_parameter(last, "sample_weight"):
        raise UnsupportedError(
            f"a {type(last).__name__} takes no sample weights", remedy="Cross-fit a model whose fit takes sample_weight"
        )
    return model.fit(x[row], code, **{f"{place}sample_weight": soft[row, code]})

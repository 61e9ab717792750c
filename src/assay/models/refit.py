"""Refit: fresh models of the same recipe on other rows, which shadow models and poisoning curves are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from assay.core.clock import derive_seed
from assay.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Sets = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


class Refit(Protocol):
    """Fits the recipe anew; the training room does it in the sandbox, ``LocalRefit`` in this process."""

    def probabilities(self, sets: Sets, x: NDArray[Any], queries: NDArray[Any], *, seed: int) -> NDArray[np.float64]:
        """Return what k fresh models answer to queries (q, d), as (k, q, classes).

        sets: for each model the rows of x (n, d) that it is fitted on, and their labels.
        """


class LocalRefit:
    """Fits copies of a scikit-learn estimator here, spread over ``n_jobs`` threads or a joblib backend."""

    def __init__(self, estimator: Any, classes: int, *, n_jobs: int = 1) -> None:
        if not hasattr(estimator, "fit") or not hasattr(estimator, "predict_proba"):
            raise DataError(f"a {type(estimator).__name__} cannot be fitted again", remedy="Give a classifier")
        self._estimator, self._classes, self._n_jobs = estimator, classes, n_jobs

    def probabilities(self, sets: Sets, x: NDArray[Any], queries: NDArray[Any], *, seed: int) -> NDArray[np.float64]:
        """Return the answers of k fresh models, (k, q, classes); model i is seeded by (seed, i)."""
        import joblib
        import numpy as np

        fits = (
            joblib.delayed(_answer)(
                self._estimator, x[rows], labels, queries, self._classes, derive_seed(seed, "refit", i)
            )
            for i, (rows, labels) in enumerate(sets)
        )
        return np.stack(joblib.Parallel(n_jobs=self._n_jobs, prefer="threads")(fits))


def _answer(
    estimator: Any, x: NDArray[Any], y: NDArray[np.intp], queries: NDArray[Any], classes: int, seed: int
) -> NDArray[np.float64]:
    import numpy as np
    from sklearn.base import clone

    fresh = clone(estimator)
    seeds = {name: seed % 2**31 for name in fresh.get_params() if name.rpartition("__")[2] == "random_state"}
    fresh.set_params(**seeds).fit(x, y)
    answers = np.zeros((len(queries), classes))
    answers[:, np.asarray(fresh.classes_, dtype=np.intp)] = fresh.predict_proba(queries)
    return answers

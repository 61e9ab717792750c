"""Refit: fresh models of the same recipe on other rows, which shadow models and poisoning curves are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assay.contract.table import first_line
from assay.core.clock import derive_seed
from assay.core.discovery import discover
from assay.core.errors import DataError
from assay.models.answer_store import AnswerStore
from assay.models.together.base import Sample, Together, is_kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Sets = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]

_BAGS = ("RandomForestClassifier", "ExtraTreesClassifier", "BaggingClassifier")
_LEAST_MEMBERS = 5
# Of the members that are shared out; what they would cost pays for the fits and answers that more sets need.
_SHARED = 0.93


class Refit(Protocol):
    """Fits the recipe anew; the training room does it in the sandbox, ``LocalRefit`` in this process."""

    def probabilities(
        self, sets: Sets, x: NDArray[Any], queries: NDArray[Any], *, seed: int, fewest: int | None = None
    ) -> NDArray[np.float64]:
        """Return what k fresh models answer to queries (q, d), as (k, q, classes).

        sets: for each model the rows of x (n, d) that it is fitted on, and their labels. fewest: only the first so many
        sets need an answer; the others get one where it costs nothing more, as when the trees of a forest are shared
        out among the fits. So k is ``fewest`` or the number of sets.
        """


class LocalRefit:
    """Fits copies of a scikit-learn estimator here, spread over ``n_jobs`` workers of a joblib backend.

    n_jobs, backend: as joblib takes them; a Dask, Ray or Spark backend goes by the name that it is registered under.
    store: folder in which answers are kept, so that a stopped run goes on (None: nowhere). progress: told (done, all).
    """

    def __init__(
        self,
        estimator: Any,
        classes: int,
        *,
        n_jobs: int = 1,
        backend: str = "threading",
        store: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if not hasattr(estimator, "fit") or not hasattr(estimator, "predict"):
            raise DataError(f"a {type(estimator).__name__} cannot be fitted again", remedy="Give a classifier")
        self._estimator, self._classes = estimator, classes
        self._spread = Spread(n_jobs, backend, AnswerStore(store) if store else None, progress)

    def probabilities(
        self, sets: Sets, x: NDArray[Any], queries: NDArray[Any], *, seed: int, fewest: int | None = None
    ) -> NDArray[np.float64]:
        """Return the answers of k fresh models, (k, q, classes); model i is seeded by (seed, i)."""
        from sklearn.base import clone

        return fit_all(
            lambda _: clone(self._estimator), sets, x, queries, classes=self._classes,
            seeds=[derive_seed(seed, "refit", i) % 2**31 for i in range(len(sets))], fewest=fewest, spread=self._spread,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """Over what fits are spread, where their answers are kept, and who is told (done, all) of each."""

    n_jobs: int = 1
    backend: str = "threading"
    store: AnswerStore | None = None
    progress: Callable[[int, int], None] | None = None


def fit_all(
    make: Callable[[int], Any],
    sets: Sets,
    x: NDArray[Any],
    queries: NDArray[Any],
    *,
    classes: int,
    seeds: list[int],
    fewest: int | None = None,
    spread: Spread = Spread(),
) -> NDArray[np.float64]:
    """Return what fresh models of ``make(i)`` answer to ``queries``, (k, q, classes), fitted in the quickest way.

    Copies that can be fitted in one computation are (``assay.models.together``), behind the steps of a pipeline too;
    bags of independent members share their members out when more sets are given than ``fewest``.
    Arguments as in ``Refit.probabilities``; seeds: one for each set.
    """
    import numpy as np

    first = make(0)
    members = _members(first)
    each = 0
    if fewest is not None and len(sets) > fewest:
        each = round(_SHARED * members * fewest / len(sets))
        if each < _LEAST_MEMBERS:
            sets, each = sets[:fewest], 0
    models = [_prepared(make(i) if i else first, seeds[i], each) for i in range(len(sets))]
    together = next((t for t in discover(Together).values() if t.accepts(_last(first))), None)
    if together is not None and len(sets) > 1:
        samples = [_sample(model, x[rows], labels, queries) for model, (rows, labels) in zip(models, sets, strict=True)]
        answers = together.answers(_last(models[0]), samples, classes=classes, seeds=seeds[: len(sets)])
        if spread.progress:
            spread.progress(len(sets), len(sets))
        return np.stack(answers)
    return np.stack(_one_by_one(models, sets, x, queries, classes, spread))


def _one_by_one(
    models: list[Any], sets: Sets, x: NDArray[Any], queries: NDArray[Any], classes: int, spread: Spread
) -> list[NDArray[np.float64]]:
    """Return each model's answers: those kept from an earlier run, the others from a fit now, kept as it ends."""
    import joblib

    answers: dict[int, NDArray[np.float64]] = {}
    keys: dict[int, str] = {}
    if spread.store is not None:
        for i, (rows, labels) in enumerate(sets):
            keys[i] = spread.store.key(models[i], x[rows], labels, queries)
            found = spread.store.get(keys[i])
            if found is not None:
                answers[i] = found
    missing = [i for i in range(len(sets)) if i not in answers]
    fits = (joblib.delayed(_answer)(models[i], x[sets[i][0]], sets[i][1], queries, classes) for i in missing)
    # In the order of submission and as they end: what is done is kept before the next is waited for.
    running = joblib.Parallel(n_jobs=spread.n_jobs, backend=spread.backend, return_as="generator")(fits)
    for i, answer in zip(missing, running, strict=True):
        answers[i] = answer
        if spread.store is not None:
            spread.store.put(keys[i], answer)
        if spread.progress:
            spread.progress(len(answers), len(sets))
    return [answers[i] for i in range(len(sets))]


def _last(estimator: Any) -> Any:
    """Return the last step of a pipeline, the estimator itself otherwise."""
    return estimator.steps[-1][1] if is_kind(estimator, "sklearn", "Pipeline") else estimator


def _members(estimator: Any) -> int:
    """Return how many independent members an ensemble averages over, 0 for any other estimator."""
    last = _last(estimator)
    return int(last.n_estimators) if is_kind(last, "sklearn", *_BAGS) and not last.warm_start else 0


def _prepared(estimator: Any, seed: int, members: int) -> Any:
    """Seed every step of a fresh estimator, and hold a bag to so many members (0: as it is)."""
    seeds = {name: seed for name in estimator.get_params() if name.rpartition("__")[2] == "random_state"}
    estimator.set_params(**seeds)
    if members:
        _last(estimator).set_params(n_estimators=members, oob_score=False)
    return estimator


def _sample(model: Any, x: NDArray[Any], y: NDArray[np.intp], queries: NDArray[Any]) -> Sample:
    """Return a copy's rows and queries as its last step sees them, the steps before it fitted on its own rows."""
    if is_kind(model, "sklearn", "Pipeline") and len(model.steps) > 1:
        before = model[:-1]
        x = before.fit_transform(x, y)
        queries = before.transform(queries)
    return Sample(x, y, queries)


def _answer(
    model: Any, x: NDArray[Any], y: NDArray[np.intp], queries: NDArray[Any], classes: int
) -> NDArray[np.float64]:
    import numpy as np

    from assay.models.function import as_probabilities

    answers = np.zeros((len(queries), classes))
    try:
        model.fit(x, y)
        known = np.asarray(model.classes_, dtype=np.intp)
        if hasattr(model, "predict_proba"):
            answers[:, known] = model.predict_proba(queries)
        else:
            answers = as_probabilities(model.predict(queries), classes)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the recipe cannot be fitted on the rows, or asked about them ({first_line(error)})",
            where=type(_last(model)).__name__, remedy="Give an estimator of rows in model space: numbers, one column a feature",
        ) from error  # fmt: skip
    return answers

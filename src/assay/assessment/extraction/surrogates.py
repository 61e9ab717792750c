"""Surrogates: ordinary models fitted to another model's answers, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from assay.core.clock import derive_seed, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Copy: TypeAlias = Callable[[Array], Array]
    Fit: TypeAlias = Callable[[Array, Array, int], Copy]

_SOFT = 1e-6
_HARD = 0.02
_FEWEST = 20
_BOOSTED_CLASSES = 4
_HIDDEN, _STEPS, _LEAST_ROUNDS, _MOST_ROUNDS = 128, 2_000, 20, 150


def fit_best(x: Array, answers: Array, *, seed: int) -> Copy:
    """Return the surrogate that answers a fifth of the rows, set aside, best, fitted on all of them.

    x (q, d), NaN where missing; answers (q, c): probabilities, or certainties where only labels are known.
    Best: least squared difference of the probabilities. Fewer than 20 rows are not divided: linear is fitted.
    """
    fits = _candidates(answers)
    if len(x) == 1:
        return lambda rows: np.repeat(answers, len(rows), axis=0)
    if len(x) < _FEWEST:
        return fits["linear"](x, answers, seed)
    order = stream(seed, "surrogates").permutation(len(x))
    held, rest = order[: len(x) // 5], order[len(x) // 5 :]
    losses = {
        name: float(((fit(x[rest], answers[rest], seed)(x[held]) - answers[held]) ** 2).mean())
        for name, fit in fits.items()
    }
    return fits[min(losses, key=losses.__getitem__)](x, answers, seed)


def _candidates(answers: Array) -> dict[str, Fit]:
    fits: dict[str, Fit] = {"linear": _linear, "forest": forest, "perceptron": perceptron}
    if answers.shape[1] <= _BOOSTED_CLASSES:
        fits["boosted"] = _boosted
    return fits


def _logits(answers: Array) -> Array:
    """Return what the answers' softmax came from, one column less than classes, against class 0.

    Where answers are rounded, as a forest's are, a 0 stands for half of the least chance that was seen.
    """
    rounded = bool((answers <= 0).any())
    least = float(answers[answers > 0].min(initial=1.0)) / 2.0
    floor = _HARD if _certain(answers) else max(_SOFT, least * rounded)
    logs = np.log(np.clip(answers, floor, 1.0))
    result: Array = logs[:, 1:] - logs[:, :1]
    return result


def _certain(answers: Array) -> bool:
    return bool(((answers == 0.0) | (answers == 1.0)).all())


def _softmax(logits: Array) -> Array:
    full = np.concatenate([np.zeros((len(logits), 1)), logits], axis=1)
    grown = np.exp(full - full.max(axis=1, keepdims=True))
    result: Array = grown / grown.sum(axis=1, keepdims=True)
    return result


def _linear(x: Array, answers: Array, seed: int) -> Copy:  # noqa: ARG001 - as every fit
    """Ridge on the logits of scaled columns, exact for a logistic model; logistic regression on mere labels."""
    seen = ~np.isnan(x)
    count = np.maximum(seen.sum(axis=0), 1)
    middle = np.where(seen, x, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(seen, x - middle, 0.0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 0, spread, 1.0)

    def scaled(rows: Array) -> Array:
        near: Array = np.nan_to_num((rows - middle) / spread)
        return near

    several = len(np.unique(answers.argmax(axis=1))) > 1
    fitted = (_on_labels if several and _certain(answers) else _on_logits)(scaled(x), answers)
    return lambda rows: fitted(scaled(rows))


def _on_logits(x: Array, answers: Array) -> Copy:
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=np.logspace(-6, 3, 10)).fit(x, _logits(answers))
    return lambda rows: _softmax(model.predict(rows).reshape(len(rows), -1))


def _on_labels(x: Array, answers: Array) -> Copy:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2_000, tol=1e-3).fit(x, answers.argmax(axis=1))

    def copy(rows: Array) -> Array:
        given = np.zeros((len(rows), answers.shape[1]))
        given[:, model.classes_] = model.predict_proba(rows)
        return given

    return copy


def forest(x: Array, answers: Array, seed: int) -> Copy:
    """Extremely random trees on the probabilities themselves; one forest for all classes."""
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(100, random_state=derive_seed(seed, "forest") % 2**31).fit(x, answers)

    def copy(rows: Array) -> Array:
        answers: Array = model.predict(rows)
        return answers

    return copy


@dataclass(frozen=True, slots=True)
class _Training:
    """How the perceptron is fitted, in the names of scikit-learn's settings."""

    max_iter: int
    learning_rate_init: float = 3e-3
    batch_size: int = 64
    alpha: float = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    solver: str = "adam"
    shuffle: bool = True
    tol: float = 1e-5
    n_iter_no_change: int = 20


def perceptron(x: Array, answers: Array, seed: int) -> Copy:
    """One hidden layer of 128 on scaled columns, fitted to the probabilities by cross-entropy."""
    from assay.models.together.mlp import Perceptrons, fit

    seen = ~np.isnan(x)
    count = np.maximum(seen.sum(axis=0), 1)
    middle = np.where(seen, x, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(seen, x - middle, 0.0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 0, spread, 1.0)

    def scaled(rows: Array) -> NDArray[np.float32]:
        near: NDArray[np.float32] = np.nan_to_num((rows - middle) / spread)[None].astype(np.float32)
        return near

    width = answers.shape[1] if answers.shape[1] > 2 else 1
    wanted = (answers if width > 1 else answers[:, 1:])[None].astype(np.float32)
    nets = Perceptrons((x.shape[1], _HIDDEN, width), "relu", [stream(seed, "perceptron")])
    rounds = int(np.clip(_STEPS * 64 // len(x), _LEAST_ROUNDS, _MOST_ROUNDS))
    fit(nets, scaled(x), wanted, _Training(rounds))
    return lambda rows: nets.probabilities(scaled(rows))[0]


def _boosted(x: Array, answers: Array, seed: int) -> Copy:
    """Boosted histogram trees on the logits, one model a column."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    number = derive_seed(seed, "boosted") % 2**31
    models = [
        HistGradientBoostingRegressor(
            max_iter=150, max_leaf_nodes=15, min_samples_leaf=5, early_stopping=False, random_state=number
        ).fit(x, column)
        for column in _logits(answers).T
    ]
    return lambda rows: _softmax(np.stack([m.predict(rows) for m in models], axis=1))

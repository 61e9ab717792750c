"""The audit of Assay's own numpy estimators: one extra training on the rows and the canaries that coins let in."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.base import clone

from assay.training.private.audit import Audited, Auditor, planted
from assay.training.private.audit_gradients import Outer
from assay.training.private.clipping import PerLayer
from assay.training.private.dense import views, with_ones
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]


def audit(
    estimator: DPLogisticRegression | DPMLPClassifier, X: Any, y: Any, *, canaries: int = 200, seed: int = 0,
    confidence: float = 0.95,
) -> Audited:  # fmt: skip
    """Train a fresh copy of ``estimator`` on (X, y) and canaries, and return what the run shows about its claim.

    Canaries lie at corners of the estimator's bounds, or of [-1, 1] without bounds. The copy's noise comes from the
    operating system; seed: of canaries and coins. Raises SettingError for fewer than two canaries.
    """
    trial = planted(X, y, estimator.bounds, canaries, seed=seed)
    width, classes = trial.rows.shape[1], len(trial.names)
    trained = clone(estimator).set_params(
        random_state=None, classes=trial.names, rows=estimator.rows or len(trial.real)
    )
    scaling = Scaling(trained.bounds, trained.row_norm, trained.unit_rows, trained.features, trained.gamma)
    inputs = with_ones(scaling.apply(trial.rows)).astype(np.float64)
    widths, plan = trained.widths(width, classes), trained.plan(trained.rows)
    auditor = Auditor(
        reference_of(widths, inputs, trial.codes), trial.table, trial.canaries,
        sigma=plan.clip.noise_share(plan.sigma), rate=plan.rate,
        layers=[o * (i + 1) for i, o in pairwise(widths)] if isinstance(plan.clip, PerLayer) else (),
    )  # fmt: skip
    trained.fit(trial.rows[trial.table], trial.names[trial.codes[trial.table]], observer=auditor)
    return auditor.result(trained.claim_.epsilon.high, trained.delta, confidence=confidence, seed=seed)


def reference_of(
    widths: Sequence[int], inputs: NDArray[np.float64], codes: NDArray[np.intp]
) -> Callable[[Array, NDArray[np.intp]], Outer]:
    """Return the function that makes every row's gradient for a dense network, layer by layer, in float64."""
    shapes = [(o, i + 1) for i, o in pairwise(widths)]

    def gradients(weights: Array, rows: NDArray[np.intp]) -> Outer:
        layers = views(np.asarray(weights, np.float64), shapes)
        into = [inputs[rows]]
        for layer in layers[:-1]:
            into.append(np.pad(np.maximum(into[-1] @ layer.T, 0.0), ((0, 0), (0, 1)), constant_values=1.0))
        scores = into[-1] @ layers[-1].T
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        chances[np.arange(len(rows)), codes[rows]] -= 1.0
        back, pairs = chances, []
        for layer, a in zip(reversed(layers), reversed(into), strict=True):
            pairs.append((back, a))
            back = (back @ layer[:, :-1]) * (a[:, :-1] > 0)
        return Outer(pairs[::-1])

    return gradients

"""The audit of Assay's own numpy estimators: one extra training on the rows and the canaries that coins let in."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.base import clone

from assay.training.private.audit import Audited, Auditor, planted
from assay.training.private.audit_gradients import Outer
from assay.training.private.clipping import PerLayer
from assay.training.private.dense import with_ones
from assay.training.private.dpsgd import Descent, Step
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]

# How far the trainer's float32 may be off: of a step, of the weights, and of the scores of the whole training.
_OFF, _ROUNDING, _NEAR = 0.01, 1e-5, 1e-2


def audit(
    estimator: DPLogisticRegression | DPMLPClassifier, X: Any, y: Any, *, canaries: int = 200, seed: int = 0,
    confidence: float = 0.95,
) -> Audited:  # fmt: skip
    """Train a fresh copy of ``estimator`` on (X, y) and canaries, and return what the run shows about its claim.

    Canaries lie at corners of the estimator's bounds, or of [-1, 1] without bounds. The copy's noise comes from the
    operating system; seed: of canaries and coins. Raises SettingError for fewer than two canaries.
    """
    trial = planted(X, y, estimator.bounds, canaries, seed=seed, classes=estimator.classes)
    width, classes = trial.rows.shape[1], len(trial.names)
    trained = clone(estimator).set_params(
        random_state=None, classes=trial.names, rows=estimator.rows or len(trial.real)
    )
    scaling = trained.scaling()
    inputs = with_ones(scaling.apply(trial.rows)).astype(np.float64)
    widths, plan = trained.widths(width, classes), trained.plan(trained.rows)
    auditor = Auditor(
        reference_of(widths, inputs, trial.codes), trial.table, trial.canaries,
        sigma=plan.clip.noise_share(plan.sigma), rate=plan.rate,
        layers=[o * (i + 1) for i, o in pairwise(widths)] if isinstance(plan.clip, PerLayer) else (),
    )  # fmt: skip
    replay = _Replay(plan)

    def watch(step: Step) -> None:
        replay(step)
        auditor(step)

    trained.fit(trial.rows[trial.table], trial.names[trial.codes[trial.table]], observer=watch)
    _, scores = _forward(_views(replay.weights(), widths), inputs)
    told = trained.decision_function(trial.rows)
    wanted = scores[:, 1] - scores[:, 0] if told.ndim == 1 else scores
    same = float(np.linalg.norm(told - wanted)) <= _NEAR * float(np.linalg.norm(wanted))
    return auditor.result(
        trained.claim_.epsilon.high, trained.delta, confidence=confidence, seed=seed, released=same and replay.followed
    )  # fmt: skip


class _Replay:
    """Takes each step again from what was released; followed: whether the trainer's weights went the same way."""

    def __init__(self, plan: Descent) -> None:
        self._plan, self.followed = plan, True
        self._averaged = round(plan.average * plan.steps)
        self._velocity: Array | float = 0.0
        self._sum: Array | float = 0.0
        self._last: tuple[Array, Array] | None = None

    def __call__(self, step: Step) -> None:
        """Take in one step."""
        plan, weights = self._plan, np.asarray(step.weights, np.float64)
        if self._last is not None:
            before, after = self._last
            off, moved = np.linalg.norm(weights - after), np.linalg.norm(after - before)
            self.followed &= bool(off <= _OFF * moved + _ROUNDING * np.linalg.norm(after))
        push = step.released + plan.l2 * plan.expected * weights
        self._velocity = plan.momentum * self._velocity + push
        after = weights - plan.learning_rate / plan.expected * self._velocity
        self._last = weights, after
        if step.number >= plan.steps - self._averaged:
            self._sum = self._sum + after

    def weights(self) -> Array:
        """Return the weights that all steps lead to, the average of the last ones where the plan says so."""
        assert self._last is not None
        return np.asarray(self._sum) / self._averaged if self._averaged else self._last[1]


def reference_of(
    widths: Sequence[int], inputs: NDArray[np.float64], codes: NDArray[np.intp]
) -> Callable[[Array, NDArray[np.intp]], Outer]:
    """Return the function that makes every row's gradient for a dense network, layer by layer, in float64."""

    def gradients(weights: Array, rows: NDArray[np.intp]) -> Outer:
        layers = _views(weights, widths)
        into, scores = _forward(layers, inputs[rows])
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        chances[np.arange(len(rows)), codes[rows]] -= 1.0
        back, pairs = chances, []
        for layer, a in zip(reversed(layers), reversed(into), strict=True):
            pairs.append((back, a))
            back = (back @ layer[:, :-1]) * (a[:, :-1] > 0)
        return Outer(pairs[::-1])

    return gradients


def _forward(layers: Sequence[Array], inputs: NDArray[np.float64]) -> tuple[list[Array], Array]:
    """Return what goes into each layer (n, in + 1), and the scores (n, k)."""
    into: list[Array] = [inputs]
    for layer in layers[:-1]:
        into.append(np.pad(np.maximum(into[-1] @ layer.T, 0.0), ((0, 0), (0, 1)), constant_values=1.0))
    return into, into[-1] @ layers[-1].T


def _views(weights: Array, widths: Sequence[int]) -> list[Array]:
    """Return each layer's weights (out, in + 1), in float64."""
    ends = np.cumsum([o * (i + 1) for i, o in pairwise(widths)])
    parts = np.split(np.asarray(weights, np.float64), ends[:-1])
    return [part.reshape(o, i + 1) for part, (i, o) in zip(parts, pairwise(widths), strict=True)]

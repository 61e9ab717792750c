"""Logistic regressions of scikit-learn, many at once: one limited-memory quasi-Newton search over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.models.together.base import Sample, Together, is_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_MEMORY = 10
_BLOCK_VALUES = 20_000_000


class ManyLogistic(Together, name="logistic"):
    """Fits ``LogisticRegression`` with an L2 penalty and the solver lbfgs, to the optimum that it seeks."""

    @classmethod
    def accepts(cls, estimator: Any) -> bool:
        """Return whether the settings are those that are fitted here."""
        if not is_kind(estimator, "sklearn", "LogisticRegression"):
            return False
        settings = estimator.get_params()
        ridge = settings.get("penalty") in ("l2", "deprecated") and not settings.get("l1_ratio")
        plain = settings.get("class_weight") is None and not settings.get("warm_start")
        return settings["solver"] == "lbfgs" and ridge and plain

    @classmethod
    def answers(
        cls,
        estimator: Any,
        samples: list[Sample],
        *,
        classes: int,
        seeds: list[int],  # noqa: ARG003 - the optimum knows no chance
    ) -> list[NDArray[np.float64]]:
        """Return the probabilities (q, classes) of each copy."""
        made: list[NDArray[np.float64]] = []
        share = max(1, _BLOCK_VALUES // max(1, *(s.x.size for s in samples)))
        for start in range(0, len(samples), share):
            made += _block(estimator, samples[start : start + share], classes)
        return made


def _block(estimator: Any, samples: list[Sample], classes: int) -> list[NDArray[np.float64]]:
    n, d, k = max(len(s.x) for s in samples), samples[0].x.shape[1], len(samples)
    x, weight, wanted = np.zeros((k, n, d + 1)), np.zeros((k, n)), np.zeros((k, n, classes))
    for i, s in enumerate(samples):
        x[i, : len(s.x), :d], weight[i, : len(s.x)] = s.x, 1.0
        wanted[i, np.arange(len(s.y)), s.y] = 1.0
    x[:, :, d] = float(estimator.fit_intercept)
    held = wanted.sum(axis=1) > 0
    found = _minimise(x, weight, wanted, held, estimator)
    answers = []
    for i, s in enumerate(samples):
        scores = s.queries @ found[i, :d] + found[i, d] * float(estimator.fit_intercept)
        scores = np.where(held[i], scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        answers.append(scores / scores.sum(axis=1, keepdims=True))
    return answers


def _minimise(x: Array, weight: Array, wanted: Array, held: NDArray[np.bool_], settings: Any) -> Array:
    """Return the coefficients (k, d + 1, classes) of all models. Nocedal & Wright 2006, algorithm 7.5, with backtracking.

    Two classes are one logistic curve: the penalty is halved so that the softmax of +w/2 and -w/2 has the optimum of w.
    """
    k, _, width = x.shape
    classes = wanted.shape[2]
    size = weight.sum(axis=1)
    # scikit-learn minimises the mean loss + |w|^2 / (2 C n); the intercept is not penalised.
    ridge = np.ones((k, width, classes)) / (settings.C * size)[:, None, None]
    ridge[:, -1] = 0.0
    ridge[held.sum(axis=1) == 2] *= 2.0

    def evaluate(w: Array) -> tuple[Array, Array]:
        scores = np.where(held[:, None], x @ w, -np.inf)
        top = scores.max(axis=2, keepdims=True)
        shares = np.exp(scores - top)
        total = shares.sum(axis=2, keepdims=True)
        picked = np.where(wanted > 0, scores, 0.0).sum(axis=2)
        loss = ((np.log(total) + top)[..., 0] * weight - picked * weight).sum(axis=1) / size
        shares = (shares / total - wanted) * weight[..., None]
        slope = x.transpose(0, 2, 1) @ shares / size[:, None, None] + ridge * w
        return loss + 0.5 * (ridge * w * w).sum(axis=(1, 2)), slope

    w = np.zeros((k, width, classes))
    value, slope = evaluate(w)
    steps: list[tuple[Array, Array, Array]] = []
    for _ in range(max(1, settings.max_iter)):
        going = np.abs(slope).max(axis=(1, 2)) > settings.tol
        if not going.any():
            break
        way = -_two_loops(slope, steps)
        fall = (way * slope).sum(axis=(1, 2))
        way = np.where((fall < 0)[:, None, None], way, -slope)
        fall = np.minimum(fall, (way * slope).sum(axis=(1, 2)))
        length = np.where(going, 1.0, 0.0)
        for _ in range(25):
            w_new = w + length[:, None, None] * way
            value_new, slope_new = evaluate(w_new)
            bad = value_new > value + 1e-4 * length * fall + 1e-15
            if not bad.any():
                break
            length = np.where(bad, length / 2.0, length)
        s, y = w_new - w, slope_new - slope
        curve = (s * y).sum(axis=(1, 2))
        steps = [*steps[-_MEMORY + 1 :], (s, y, np.where(curve > 1e-14, 1.0 / np.maximum(curve, 1e-14), 0.0))]
        w, value, slope = w_new, value_new, slope_new
    return w


def _two_loops(slope: Array, steps: list[tuple[Array, Array, Array]]) -> Array:
    """Return the inverse Hessian's estimate times the slope, model by model."""
    q, kept = slope.copy(), []
    for s, y, rho in reversed(steps):
        a = rho * (s * q).sum(axis=(1, 2))
        kept.append(a)
        q -= a[:, None, None] * y
    if steps:
        s, y, rho = steps[-1]
        norm = (y * y).sum(axis=(1, 2))
        q *= np.where(rho > 0, 1.0 / np.maximum(rho * norm, 1e-30), 1.0)[:, None, None]
    for (s, y, rho), a in zip(steps, reversed(kept), strict=True):
        b = rho * (y * q).sum(axis=(1, 2))
        q += (a - b)[:, None, None] * s
    return q

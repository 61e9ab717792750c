"""The defences that a side-effect matrix tries: how each is fitted, and what it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.extraction.base import shown
from assay.core.clock import derive_seed, stream
from assay.core.discovery import discover
from assay.core.errors import DependencyError, UnsupportedError
from assay.models.ensemble import Ensemble
from assay.models.function import Function
from assay.models.predictor import Predictor, predictor
from assay.models.transformed import Transformed
from assay.models.transforms.base import Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.contract import Contract
    from assay.contract.region import Region

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]
    Fit = Callable[[Array, Labels], Predictor]

AS_IT_IS = "as it is"
_BAGS = 5
_PRIVACY = 3.0
_POLICIES = {"rounded": "two decimals", "labels": "labels only"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One defence. versus: the name of the same model without it ("" for one without a defence).

    fit: returns the defended model for the training rows; refit: the same for other labels, where the model can be fitted again.
    """

    name: str
    what: str
    versus: str
    fit: Fit
    refit: Fit


def candidates(
    base: Predictor,
    train: tuple[Array, Labels],
    region: Region,
    contract: Contract | None,
    *,
    estimator: Any = None,
    radius: float = 0.25,
    seed: int = 0,
) -> list[Candidate]:
    """Return every defence that suits the model and the rows, each after what it is held against.

    Of the answers (rounding, labels only), of the input (every transform that is discovered, for images), of the
    recipe (``estimator``: bagging, cross-fitting), and models that are robust or private by training, each beside the
    same model trained without; radius: what robust ones are trained for.
    """
    again = _again(estimator, contract)
    found = [Candidate(AS_IT_IS, "nothing", "", lambda _x, _y: base, again)]
    for policy, name in _POLICIES.items():
        found.append(_wrapped(name, f"answers are {name}", base, again, lambda m, p=policy: _shown(m, p)))  # type: ignore[misc]
    if train[0].ndim > 2:
        found += [
            _wrapped(f"{kind}", f"input through {kind}", base, again, lambda m, t=made: Transformed(m, [t], seed=seed))  # type: ignore[misc]
            for kind, made in _transforms(region)
        ]
    if estimator is not None:
        found += _of_recipe(estimator, contract, seed)
    if train[0].ndim == 2:
        found += _boosted(region, radius)
        found += _private(region, base.classes, seed)
    return [*found, *_adversarial(region, train[0].shape[1:], radius, seed)]


def _again(estimator: Any, contract: Contract | None) -> Fit:
    def fit(x: Array, y: Labels) -> Predictor:
        if estimator is None:
            raise UnsupportedError("the model cannot be fitted again", remedy="Give estimator=")
        from sklearn.base import clone

        return predictor(clone(estimator).fit(x, y), contract=contract)

    return fit


def _wrapped(name: str, what: str, base: Predictor, again: Fit, wrap: Callable[[Predictor], Predictor]) -> Candidate:
    return Candidate(name, what, AS_IT_IS, lambda _x, _y: wrap(base), lambda x, y: wrap(again(x, y)))


def _shown(model: Predictor, policy: str) -> Predictor:
    inner = model.limited(None)
    return Function(lambda x: shown(inner.probabilities(x), policy), model.classes)


def _transforms(region: Region) -> list[tuple[str, Transform]]:
    """Return every transform with its own defaults, told the range of the values where it asks for it."""
    import dataclasses

    low, high = float(region.base_low.min()), float(region.base_high.max())
    made = []
    for name, kind in sorted(discover(Transform).items()):
        names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
        made.append((name, kind(**{k: v for k, v in (("low", low), ("high", high)) if k in names})))
    return made


def _of_recipe(estimator: Any, contract: Contract | None, seed: int) -> list[Candidate]:
    from assay.training.private.crossfit import CrossFitted

    again = _again(estimator, contract)

    def bagged(x: Array, y: Labels) -> Predictor:
        draws = [stream(seed, "bag", i).integers(0, len(y), len(y)) for i in range(_BAGS)]
        return Ensemble([again(x[d], y[d]) for d in draws])

    def crossed(x: Array, y: Labels) -> Predictor:
        from sklearn.base import clone

        return predictor(CrossFitted(clone(estimator)).fit(x, y), contract=contract)

    return [
        Candidate("ensemble", f"{_BAGS} copies on draws of the rows", AS_IT_IS, bagged, bagged),
        Candidate("cross-fitted", "distilled from out-of-fold answers", AS_IT_IS, crossed, crossed),
    ]


def _both(name: str, what: str, plain: str, make: Callable[[float], Any], strength: float) -> list[Candidate]:
    """Return a model trained without the defence and with it."""

    def fitted(value: float) -> Fit:
        return lambda x, y: predictor(make(value).fit(x, y))

    without, with_it = fitted(0.0), fitted(strength)
    return [
        Candidate(plain, f"{what}, strength 0", "", without, without),
        Candidate(name, f"{what}, strength {strength:g}", plain, with_it, with_it),
    ]


def _boosted(region: Region, radius: float) -> list[Candidate]:
    from assay.training.robust.boosted import RobustBoostedTrees

    scale = np.where(region.mutable, region.scale, 0.0)
    return _both(
        "robust trees", "boosting on the worst input near each row", "plain trees",
        lambda epsilon: RobustBoostedTrees(epsilon=epsilon, scale=scale, n_estimators=40), radius / 2,
    )  # fmt: skip


def _adversarial(region: Region, shape: tuple[int, ...], radius: float, seed: int) -> list[Candidate]:
    try:
        from assay.training.robust.adversarial import AdversarialClassifier
    except (ImportError, DependencyError):
        return []
    scale = np.where(region.mutable, region.scale, 0.0).reshape(shape)

    def make(strength: float) -> Any:
        return AdversarialClassifier(
            radius=strength, norm="l2", scale=scale, epochs=30, validation=0.0, threads=1,
            random_state=derive_seed(seed, "net") % 2**31,
        )  # fmt: skip

    return _both("adversarial net", "a net trained on the worst input near each row", "plain net", make, radius)


def _private(region: Region, classes: int, seed: int) -> list[Candidate]:
    from assay.training.private.estimators import DPLogisticRegression

    low, high = region.base_low, region.base_high
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return []
    bounds = (low.tolist(), np.where(high > low, high, low + 1.0).tolist())

    def fit(x: Array, y: Labels) -> Predictor:
        model = DPLogisticRegression(epsilon=_PRIVACY, bounds=bounds, classes=list(range(classes)), random_state=seed)
        return predictor(model.fit(x, y))

    return [Candidate("private", f"differentially private linear model, epsilon {_PRIVACY:g}", AS_IT_IS, fit, fit)]


__all__ = ["AS_IT_IS", "Candidate", "candidates"]

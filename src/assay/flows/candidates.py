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
from assay.models.screened import Refusing
from assay.models.transformed import Transformed
from assay.models.transforms.base import Transform
from assay.training.detectors.base import Detector

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
# Of smoothing: the deviation of its noise, of the radius, and the votes of one answer.
_NOISE, _VOTES = 0.25, 50
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

    Of the answers (rounding, labels only), of the input (every transform that is discovered, for images; every detector,
    which learns from the training rows and refuses), of the recipe (``estimator``: bagging, cross-fitting, smoothing), and
    models that are robust or private by training, each beside the same model trained without; radius: what robust ones are
    trained for.
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
    found += _detectors(base, again, seed)
    if estimator is not None:
        found += _of_recipe(estimator, contract, seed)
        if train[0].ndim == 2:
            found.append(_smoothed("smoothed", AS_IT_IS, lambda _deviation: estimator, region, radius, seed))
    if train[0].ndim == 2:
        found += _boosted(region, radius)
        found += _private(region, base.classes, seed)
    return [*found, *_nets(region, train[0].shape[1:], radius, seed)]


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


def _nets(region: Region, shape: tuple[int, ...], radius: float, seed: int) -> list[Candidate]:
    """Return a net, the same one trained on worst inputs, and one that is trained and votes under noise."""
    try:
        from assay.training.robust.adversarial import AdversarialClassifier
    except (ImportError, DependencyError):
        return []
    scale = np.where(region.mutable, region.scale, 0.0).reshape(shape)

    def make(strength: float, method: str = "pgd") -> Any:
        # Votes are taken over flat rows, so that their net is told how its samples lie in them.
        flat = method == "noise" and len(shape) > 1
        return AdversarialClassifier(
            shape=shape if flat else None, method=method, radius=strength, norm="l2",
            scale=scale.ravel() if flat else scale, epochs=30, validation=0.0, threads=1,
            random_state=derive_seed(seed, "net") % 2**31,
        )  # fmt: skip

    return [
        *_both("adversarial net", "a net trained on the worst input near each row", "plain net", make, radius),
        _smoothed("smoothed net", "plain net", lambda deviation: make(deviation, "noise"), region, radius, seed),
    ]


def _smoothed(
    name: str, versus: str, make: Callable[[float], Any], region: Region, radius: float, seed: int
) -> Candidate:
    """Return the vote of a model under noise, in which it was trained too. make: the model for a deviation."""
    from assay.training.robust.smoothed import SmoothedClassifier

    deviation = radius * _NOISE
    scale = np.where(region.mutable, region.scale, 0.0)

    def fit(x: Array, y: Labels) -> Predictor:
        inner = make(deviation)
        # A net that is trained on noise draws its own in every epoch.
        copies = 1 if getattr(inner, "method", "") == "noise" else 4
        model = SmoothedClassifier(
            inner, sigma=deviation, scale=scale, samples=_VOTES, copies=copies, random_state=seed
        ).fit(x.reshape(len(x), -1), y)
        return Function(lambda rows: model.predict_proba(rows.reshape(len(rows), -1)), len(model.classes_))

    what = f"{_VOTES} votes under noise of deviation {deviation:g}, trained in it"
    return Candidate(name, what, versus, fit, fit)


def _detectors(base: Predictor, again: Fit, seed: int) -> list[Candidate]:
    """Return every detector with its own defaults, in front of the model; it learns from the training rows."""

    def guarded(kind: type[Detector], model: Callable[[Array, Labels], Predictor]) -> Fit:
        def fit(x: Array, y: Labels) -> Predictor:
            inner = model(x, y)
            return Refusing(inner, kind().fit(inner.limited(None), x, y, seed=seed))

        return fit

    return [
        Candidate(
            f"detector {name}", f"refuses what {name} finds unlike the training rows", AS_IT_IS,
            guarded(kind, lambda _x, _y: base), guarded(kind, again),
        )
        for name, kind in sorted(discover(Detector).items())
    ]  # fmt: skip


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

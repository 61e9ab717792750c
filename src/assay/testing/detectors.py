"""The law suite of detectors: what every detector of adversarial inputs, ours or a plugin's, has to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import stream
from assay.core.errors import DataError, SettingError, VerificationError
from assay.core.settings import settings_of
from assay.models.function import Function
from assay.stats.intervals import clopper_pearson
from assay.training.detectors.base import Detector, Fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_RATE = 0.1


def check_detector(kind: type[Detector], *, seed: int = 0) -> None:
    """Raise VerificationError when a detector breaks a law; its settings need defaults.

    Laws: settings are JSON, declared and refused outside their range; the false-alarm rate holds on new clean inputs
    (negative control) and its stated interval covers the rate seen; what is far from all clean inputs scores higher, or
    at least no lower, than they do; the same seed gives the same bytes; each input is judged by itself; inputs are not
    changed; tables and images are taken; slopes have the shape of the inputs; too few clean inputs are refused.
    """
    for law in DETECTOR_LAWS:
        law(kind, seed)


def check_settings(kind: type[Detector], seed: int) -> None:
    """Every setting is declared, survives JSON, and is refused outside its range."""
    del seed
    part = kind()
    names: list[str] = list(getattr(part, "__dataclass_fields__", ()))
    values = {name: getattr(part, name) for name in names}
    _law(parse(canonical_bytes(values)) == values, kind, "settings survive JSON")
    declared = settings_of(kind)
    _law(set(declared) == set(values), kind, "every setting is declared")
    made: Callable[..., Detector] = kind
    for name, setting in declared.items():
        for value in setting.constraint.invalid():
            try:
                made(**{**values, name: value})
            except SettingError:
                continue
            _law(False, kind, f"{name}={value!r} is refused")


def check_false_alarms(kind: type[Detector], seed: int) -> None:
    """Of new clean inputs no more are refused than was asked for, and the stated interval covers what is seen."""
    fitted, fresh = _fitted(kind, seed)
    flags = fitted.flags(fresh)
    low, high = clopper_pearson(int(flags.sum()), len(flags), 0.999)
    stated = fitted.false_alarms(0.999)
    _law(stated.estimate <= _RATE + 1e-9, kind, "the stated rate is at most the one asked for")
    _law(low <= stated.high and high >= stated.low, kind, f"the false-alarm rate holds (seen: {flags.mean():.3f})")
    _law(bool((fitted.predict(fresh) == np.where(flags, -1, 1)).all()), kind, "predict says what flags does")
    _law(bool((flags == (fitted.score(fresh) > fitted.threshold)).all()), kind, "flags are scores above the threshold")


def check_far_inputs(kind: type[Detector], seed: int) -> None:
    """Inputs between the classes and off their plane score no lower, in the median, than clean ones."""
    fitted, fresh = _fitted(kind, seed)
    rng = stream(seed, "testing", "far")
    odd = np.zeros((100, fresh.shape[1]))
    odd[:, 1:] = 2.5 * rng.choice([-1.0, 1.0], (100, fresh.shape[1] - 1))
    _law(
        float(np.median(fitted.score(odd))) >= float(np.median(fitted.score(fresh))), kind,
        "what is unlike clean inputs scores no lower than they do",
    )  # fmt: skip


def check_same_seed(kind: type[Detector], seed: int) -> None:
    """The same seed gives the same finite scores, one a row; each input is judged by itself; nothing is changed."""
    model, x, y, fresh = planted(seed=seed)
    kept = x.tobytes(), y.tobytes(), fresh.tobytes()
    first, second = (_made(kind).fit(model, x, y, seed=seed) for _ in range(2))
    scores = first.score(fresh)
    _law((x.tobytes(), y.tobytes(), fresh.tobytes()) == kept, kind, "inputs are not changed")
    _law(scores.shape == (len(fresh),) and bool(np.isfinite(scores).all()), kind, "there is one finite score a row")
    _law(scores.tobytes() == second.score(fresh).tobytes(), kind, "the same seed gives the same bytes")
    _law(first.threshold == second.threshold, kind, "the same seed gives the same threshold")
    alone = np.concatenate([first.score(fresh[i : i + 1]) for i in range(5)])
    _law(np.allclose(alone, scores[:5], rtol=1e-6, atol=1e-9), kind, "an input is judged alone as in a batch")
    slope = first.slope(fresh[:3])
    _law(slope.shape == fresh[:3].shape and bool(np.isfinite(slope).all()), kind, "slopes have the inputs' shape")


def check_images(kind: type[Detector], seed: int) -> None:
    """Images (n, h, w) are taken in their shape, and so is an empty batch."""
    rng = stream(seed, "testing", "images")
    y = rng.integers(0, 2, 120)
    x = np.clip(0.3 + 0.4 * y[:, None, None] + 0.1 * rng.standard_normal((120, 6, 5)), 0, 1)

    def answer(rows: Array) -> Array:
        share: Array = 1.0 / (1.0 + np.exp(-20.0 * (rows.reshape(len(rows), 30).mean(axis=1) - 0.5)))
        return np.stack([1.0 - share, share], axis=1)

    fitted = _made(kind).fit(Function(answer, 2), x, y, seed=seed)
    _law(fitted.score(x[:4]).shape == (4,), kind, "images are scored")
    _law(fitted.slope(x[:2]).shape == (2, 6, 5), kind, "slopes have the images' shape")


def check_few_inputs(kind: type[Detector], seed: int) -> None:
    """Too few clean inputs for the rate are refused, not calibrated on anyway."""
    model, x, y, _ = planted(seed=seed)
    try:
        _made(kind).fit(model, x[:12], y[:12], seed=seed)
    except DataError:
        return
    _law(False, kind, "12 clean inputs are refused for a rate of 0.1")


def planted(n: int = 900, *, seed: int = 0) -> tuple[Function, Array, Labels, Array]:
    """Return a model of two clouds (n, 4), clean inputs with labels, and as many new clean inputs again."""
    rng = stream(seed, "testing", "detectors")
    y = rng.integers(0, 2, 2 * n)
    x = 0.3 * rng.standard_normal((2 * n, 4))
    x[:, 0] += np.where(y == 1, 1.0, -1.0)

    def answer(rows: Array) -> Array:
        share: Array = 1.0 / (1.0 + np.exp(-6.0 * rows[:, 0]))
        return np.stack([1.0 - share, share], axis=1)

    return Function(answer, 2), x[:n], y[:n].astype(np.intp), x[n:]


DETECTOR_LAWS: tuple[Callable[[type[Detector], int], None], ...] = (
    check_settings, check_false_alarms, check_far_inputs, check_same_seed, check_images, check_few_inputs,
)  # fmt: skip


def _made(kind: type[Detector]) -> Detector:
    made: Callable[..., Detector] = kind
    return made(rate=_RATE)


def _fitted(kind: type[Detector], seed: int) -> tuple[Fitted, Array]:
    model, x, y, fresh = planted(seed=seed)
    return _made(kind).fit(model, x, y, seed=seed), fresh


def _law(holds: bool, kind: type[Detector], law: str) -> None:
    if not holds:
        raise VerificationError(f"the detector breaks a law: {law}", where=kind.name or kind.__name__)

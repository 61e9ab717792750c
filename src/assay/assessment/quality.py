"""Quality: how well the model does its work on rows nobody has tampered with, as attacks are judged against it.

What ranks rows comes first and accuracy last: with rare positives, a model that never says yes is accurate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from assay.assessment.quality_curves import calibration_bins, quality_curves
from assay.assessment.ranking import area, check_answers, deviation, precision
from assay.core.clock import stream
from assay.core.measure import Measure
from assay.stats.intervals import clopper_pearson, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.curves import Curve

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_DRAWS = 1_000
_RAY = np.linspace(0.0, 2.5, 101)
_Z = 1.959963984540054


class _Estimate(NamedTuple):
    value: float
    low: float
    high: float
    method: str
    unit: str = "share"


def quality(probabilities: Array, labels: Labels, *, seed: int) -> tuple[tuple[Measure, ...], tuple[Curve, ...]]:
    """Return the quality of probabilities (n, c) for class indices (n,), and its curves.

    Measures, with 95 % intervals: ``quality.auc`` (DeLong; of c > 2 classes one against the rest, each alike),
    ``average_precision``, ``average_precision_lift`` (over the share of positives; of two classes only), ``brier``
    (Brier 1950, 0 to 2), ``calibration_error`` (15 bins of equal count; of the positive class, or of the answer
    when c > 2), ``balanced_accuracy`` and ``accuracy``. Curves: ROC, precision and recall, reliability. All but the
    calibration error are made without drawing rows, so that millions of rows take seconds.
    Raises DataError for answers that are not finite, labels that do not fit, and rows of one class only.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    check_answers(p, y)
    y = y.astype(np.intp)
    found = {**_ranked(p, y), **_calibrated(p, y, seed), **_right(p.argmax(axis=1), y)}
    measures = tuple(
        Measure(f"quality.{name}", e.value, min(e.low, e.value), max(e.high, e.value), len(y), e.unit,
                method=e.method, threat_model="none: rows as they come", seed=seed)
        for name, e in found.items()
    )  # fmt: skip
    return measures, quality_curves(p, y)


def _ranked(p: Array, y: Labels) -> dict[str, _Estimate]:
    over, ap = area(p, y), precision(p, y)
    low, high = ap.interval()
    method = "delong-logit" if p.shape[1] == 2 else "delong-logit, macro one against the rest"
    found = {
        "auc": _Estimate(over.value, *over.interval(), method, "auc"),
        "average_precision": _Estimate(ap.value, low, high, "infinitesimal-jackknife, logit"),
    }
    if p.shape[1] == 2:
        share = float((y == 1).mean())
        lift = ap.value / share
        pull = ap.pull / ap.value - ((y == 1) / share - 1.0) / len(y)
        reach = float(np.exp(_Z * deviation(pull, ap.strata)))
        ends = (lift / reach, lift * reach) if ap.value < 1.0 else (low / share, high / share)
        found["average_precision_lift"] = _Estimate(lift, *ends, "infinitesimal-jackknife, log", "ratio")
    return found


def _calibrated(p: Array, y: Labels, seed: int) -> dict[str, _Estimate]:
    losses = ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)
    score = float(losses.mean())
    reach = _Z * float(losses.std(ddof=1)) / len(y) ** 0.5
    return {
        "brier": _Estimate(score, max(0.0, score - reach), score + reach, "normal", "score"),
        "calibration_error": _calibration(*calibration_bins(p, y), seed),
    }


def _calibration(stated: Array, right: Array, place: NDArray[np.intp], seed: int) -> _Estimate:
    """Return the mean gap over bins between stated and seen; the interval inverts a test.

    A mean of absolute gaps is above 0 for a perfect model too. So for each true error on the ray from no gaps
    through the gaps seen, bins' gaps are drawn from their normal law; kept are the errors that what was seen agrees with.
    """
    n = len(stated)
    gap = np.bincount(place, right - stated) / n
    spread = np.sqrt(np.maximum(np.bincount(place, (right - stated) ** 2) / n - gap**2, 0.0) / n)
    noise = spread * stream(seed, "quality", "calibration").standard_normal((_DRAWS, 1, len(gap)))
    error = float(np.abs(gap).sum())
    drawn = np.abs(noise + _RAY[:, None] * gap).sum(axis=2)
    # Rounding must not part equal numbers where nothing scatters.
    small = 1e-12
    enough, little = (drawn >= error - small).mean(axis=0) >= 0.025, (drawn <= error + small).mean(axis=0) >= 0.025
    low, high = float(_RAY[enough.argmax()]), float(_RAY[little.nonzero()[0].max(initial=0)])
    return _Estimate(error, low * error, min(1.0, high * error), f"{len(gap)} bins of equal count, inverted test")


def _right(answers: Labels, y: Labels) -> dict[str, _Estimate]:
    """Return balanced accuracy, whose interval joins Wilson's of each recall (Zou & Donner 2008), and accuracy."""
    recalls = []
    for label in np.unique(y):
        own = y == label
        hits, count = int((answers[own] == label).sum()), int(own.sum())
        recalls.append((hits / count, *wilson(hits, count)))
    middle, low, high = np.array(recalls).T
    mean = float(middle.mean())
    down, up = (float(np.sqrt(((end - middle) ** 2).sum())) / len(middle) for end in (low, high))
    hits = int((answers == y).sum())
    return {
        "balanced_accuracy": _Estimate(mean, max(0.0, mean - down), min(1.0, mean + up), "wilson, joined"),
        "accuracy": _Estimate(hits / len(y), *clopper_pearson(hits, len(y)), "clopper-pearson"),
    }

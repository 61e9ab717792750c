"""The curves of quality: ROC, precision against recall, and reliability, each with exact intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.ranking import area, judged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_POINTS = 200
_LINES = 6
BINS = 15


def exact_band(k: Array, n: Array) -> tuple[Array, Array]:
    """Return the ends of Clopper & Pearson's 95 % interval of k successes in n trials, each (m,); (0, 1) at n = 0."""
    from scipy.special import betaincinv

    inner_low, inner_high = (k > 0) & (n > 0), (k < n) & (n > 0)
    low = np.where(inner_low, betaincinv(np.maximum(k, 1), n - k + 1, 0.025), 0.0)
    high = np.where(inner_high, betaincinv(k + 1, np.maximum(n - k, 1), 0.975), 1.0)
    return low, high


def quality_curves(p: Array, y: Labels) -> tuple[Curve, ...]:
    """Return the curves of probabilities (n, c) for class indices (n,); of many classes, those ranked worst."""
    classes = judged(p, y)
    if len(classes) > _LINES:
        by_area = sorted(classes, key=lambda c: area(_against_rest(p, c), (y == c).astype(np.intp)).value)
        classes = sorted(by_area[:_LINES])
    binary = p.shape[1] == 2
    names = {c: "model" if binary else f"class {c}" for c in classes}
    counts = {c: _counts(p[:, c], y == c) for c in classes}
    roc = tuple(_roc(names[c], *counts[c]) for c in classes)
    recall = tuple(_precision(names[c], *counts[c][:3]) for c in classes)
    if binary:
        share = float((y == 1).mean())
        recall += (Series("share of positives", np.array([0.0, 1.0]), np.array([share, share])),)
    which = "" if len(classes) == len(judged(p, y)) else f" The {_LINES} classes that are ranked worst are shown."
    return (
        Curve(
            "quality", "ROC", "false positive rate", "true positive rate", roc, diagonal=True,
            caption="How many positives are found for how many false alarms; on the dashed line the model guesses." + which,
        ),
        Curve(
            "quality", "Precision and recall", "recall", "precision", recall,
            caption="How many alarms are right when that share of the positives is found." + which,
        ),
        _reliability(p, y),
    )  # fmt: skip


def calibration_bins(probabilities: Array, labels: Labels, bins: int = BINS) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return (stated (n,), right (n,), bin (n,)): each row's stated chance, whether it came true, and its bin.

    The chance is that of class 1 of two, and that of the answer of more. Bins hold equal counts; rows that state
    the same chance share a bin.
    """
    if probabilities.shape[1] == 2:
        stated, right = probabilities[:, 1], (labels == 1).astype(np.float64)
    else:
        stated = probabilities.max(axis=1)
        right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    edges = np.unique(np.quantile(stated, np.arange(1, bins) / bins, method="inverted_cdf"))
    place = np.searchsorted(edges, stated, side="left")
    return stated, right, np.unique(place, return_inverse=True)[1]


def _against_rest(p: Array, c: int) -> Array:
    return np.stack([1.0 - p[:, c], p[:, c]], axis=1)


def _counts(scores: Array, positive: NDArray[np.bool_]) -> tuple[Array, Array, int, int]:
    """Return true and false positives at falling thresholds, (m,) each, m <= 200, and the positives and negatives."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    true = np.cumsum(hit)[last].astype(np.float64)
    false = last + 1.0 - true
    if len(last) > _POINTS:
        # Even steps along the curve keep the steep start of a good model as well as its flat end.
        way = true / true[-1] + false / max(false[-1], 1.0)
        kept = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], _POINTS)).clip(0, len(way) - 1))
        true, false = true[kept], false[kept]
    return true, false, int(positive.sum()), int((~positive).sum())


def _roc(name: str, true: Array, false: Array, positives: int, negatives: int) -> Series:
    k = np.concatenate([[0.0], true])
    low, high = exact_band(k, np.full(len(k), float(positives)))
    return Series(name, np.concatenate([[0.0], false / negatives]), k / positives, low, high)


def _precision(name: str, true: Array, false: Array, positives: int) -> Series:
    low, high = exact_band(true, true + false)
    return Series(name, true / positives, true / (true + false), low, high)


def _reliability(p: Array, y: Labels) -> Curve:
    stated, right, place = calibration_bins(p, y)
    n = np.bincount(place).astype(np.float64)
    k = np.bincount(place, right).astype(np.float64)
    low, high = exact_band(k, n)
    what = "positives" if p.shape[1] == 2 else "right answers"
    series = (Series("model", np.bincount(place, stated) / n, k / n, low, high),)
    return Curve(
        "quality", "Reliability", "stated probability", f"share of {what}", series, diagonal=True,
        caption=f"What the model states and what comes true, in {len(n)} bins of equal count; honest is the dashed line.",
    )  # fmt: skip

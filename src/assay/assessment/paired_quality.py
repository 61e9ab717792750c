"""Differences in quality of two versions on the same rows, each with a paired interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.quality_curves import calibration_bins
from assay.assessment.ranking import Figure, area, check_answers, deviation, precision
from assay.core.clock import stream
from assay.core.measure import Measure
from assay.stats.paired import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_Z = 1.959963984540054
_DRAWS = 500


def paired_quality(before: Array, after: Array, y: Labels, *, seed: int) -> tuple[Measure, ...]:
    """Return the differences, after less before, of probabilities (n, c) for labels (n,).

    ``version_diff.auc`` (paired DeLong), ``average_precision`` (paired jackknife), ``accuracy`` (Tango),
    ``balanced_accuracy``, ``brier`` (normal, of paired losses), ``calibration_error`` (bootstrap of rows).
    Raises DataError for answers that cannot be judged.
    """
    for answers in (before, after):
        check_answers(answers, y)
    old, new = before.argmax(axis=1) == y, after.argmax(axis=1) == y
    gained, lost, n = int((new & ~old).sum()), int((old & ~new).sum()), len(y)
    hot = np.eye(before.shape[1])[y]
    loss = ((after - hot) ** 2).sum(axis=1) - ((before - hot) ** 2).sum(axis=1)
    return (
        _figures("auc", area(before, y), area(after, y), "delong, paired", seed),
        _figures("average_precision", precision(before, y), precision(after, y), "infinitesimal-jackknife, paired", seed),
        Measure("version_diff.accuracy", (gained - lost) / n, *paired_difference(gained, lost, n), n, "difference",
                method="tango", threat_model=_THREAT, seed=seed),
        _balanced(new.astype(np.float64) - old, y, seed),
        _normal("brier", float(loss.mean()), loss / n, np.zeros_like(y), n, seed, "normal, paired"),
        _calibration(before, after, y, seed),
    )  # fmt: skip


def paired_area(name: str, before: Array, after: Array, positive: Labels, *, seed: int, threat: str) -> Measure:
    """Return the difference in AUC of two scores (n,) of the same rows, of which ``positive`` (n,) are 1."""
    one, two = (area(np.stack([-s, s], axis=1), positive) for s in (before, after))
    return _figures(name, one, two, "delong, paired", seed, threat)


_THREAT = "none: rows as they come"


def _figures(name: str, before: Figure, after: Figure, method: str, seed: int, threat: str = _THREAT) -> Measure:
    pull, value = after.pull - before.pull, after.value - before.value
    return _normal(name, value, pull, before.strata, before.fewest, seed, method, threat)


def _normal(
    name: str, value: float, pull: Array, strata: Labels, fewest: int, seed: int, method: str, threat: str = _THREAT
) -> Measure:
    """Return the difference with its interval; where no row's pull differs, as far as so few rows exclude one."""
    spread = deviation(pull, strata)
    reach = _Z * spread if spread > 0 else _Z**2 / (fewest + _Z**2)
    return Measure(
        f"version_diff.{name}", value, value - reach, value + reach, len(pull), "difference", method=method,
        threat_model=threat, seed=seed,
    )  # fmt: skip


def _balanced(change: Array, y: Labels, seed: int) -> Measure:
    """Return the mean over classes of the change in recall; rows of each class taken as given."""
    kinds, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    pull = change / counts[place] / len(kinds)
    return _normal("balanced_accuracy", float(pull.sum()), pull, y, int(counts.min()), seed, "normal, paired")


def _calibration(before: Array, after: Array, y: Labels, seed: int) -> Measure:
    """Return the difference in calibration error; both from the same rows of each draw."""

    def error(answers: Array, weight: Array) -> float:
        stated, right, place = calibration_bins(answers, y)
        return float(np.abs(np.bincount(place, weight * (right - stated))).sum() / weight.sum())

    n = len(y)
    value = error(after, np.ones(n)) - error(before, np.ones(n))
    rng = stream(seed, "version_diff", "calibration")
    draws = [rng.multinomial(n, np.full(n, 1.0 / n)).astype(np.float64) for _ in range(_DRAWS)]
    parts = [calibration_bins(answers, y) for answers in (before, after)]
    drawn = [
        [float(np.abs(np.bincount(place, w * (right - stated))).sum() / n) for stated, right, place in parts]
        for w in draws
    ]
    # Around the estimate: drawing again adds the same upward push to both errors.
    shift = np.array([b - a for a, b in drawn])
    reach = _Z**2 / (n + _Z**2) if np.ptp(shift) == 0 else 0.0
    low, high = 2 * value - np.quantile(shift, 0.975) - reach, 2 * value - np.quantile(shift, 0.025) + reach
    return Measure(
        "version_diff.calibration_error", value, min(float(low), value), max(float(high), value), n, "difference",
        method=f"basic bootstrap, {_DRAWS} draws", threat_model=_THREAT, seed=seed,
    )  # fmt: skip

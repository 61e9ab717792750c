"""How well probabilities rank rows: AUC and average precision, with the pull of each row on them.

The pull (first-order influence) of every row gives the interval of a figure, and of a difference or ratio of two
figures on the same rows, without drawing rows again: one sort a class, whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.errors import DataError
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """An estimate in [0, 1] and what it stands on.

    pull (n,): by how much each row moves it. strata (n,): groups of rows whose sizes are taken as given.
    fewest: rows of the smallest class.
    """

    value: float
    pull: Array
    strata: Labels
    fewest: int

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval, made on the logit scale.

        At 0 or 1, where no row pulls, the end is that of Clopper-Pearson on the smallest class.
        """
        from scipy.special import expit, logit

        spread = deviation(self.pull, self.strata)
        if not 0.0 < self.value < 1.0:
            low, high = clopper_pearson(round(self.value * self.fewest), self.fewest)
            return min(low, self.value), max(high, self.value)
        reach = _Z * spread / (self.value * (1.0 - self.value))
        middle = float(logit(self.value))
        return min(float(expit(middle - reach)), self.value), max(float(expit(middle + reach)), self.value)


def deviation(pull: Array, strata: Labels) -> float:
    """Return the standard deviation of a figure from its rows' pulls (n,), strata (n,) of fixed size."""
    group, counts = np.unique(strata, return_inverse=True, return_counts=True)[1:]
    means = np.bincount(group, pull) / counts
    squares = np.bincount(group, (pull - means[group]) ** 2)
    return float(np.sqrt((squares * counts / np.maximum(counts - 1, 1)).sum()))


def check_answers(probabilities: Array, labels: Labels) -> None:
    """Check probabilities (n, c) against labels (n,). Raises DataError when they cannot be judged together."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or probabilities.shape[1] < 2:
        raise DataError(
            f"probabilities of shape {probabilities.shape} do not go with labels of shape {labels.shape}",
            remedy="Give (n, classes) and (n,), with two classes or more",
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels of type {labels.dtype} are no class indices", remedy="Give whole numbers from 0")
    if not np.isfinite(probabilities).all():
        raise DataError("the model answered with values that are not finite", remedy="Repair the model's output")
    if len(labels) and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise DataError(f"a label lies outside the model's {probabilities.shape[1]} classes")
    if len(np.unique(labels)) < 2:
        raise DataError("the test rows are all of one class", remedy="Give test rows of two classes or more")


def judged(probabilities: Array, labels: Labels) -> list[int]:
    """Return the classes that are ranked one against the rest: 1 of two, else every class that has rows."""
    return [1] if probabilities.shape[1] == 2 else [int(c) for c in np.unique(labels)]


def area(probabilities: Array, labels: Labels) -> Figure:
    """Return the AUC of probabilities (n, c) for labels (n,); one against the rest, each class alike, when c > 2.

    Of two classes the interval is that of DeLong, DeLong & Clarke-Pearson 1988; of more the same, with the
    number of rows of each class fixed. Raises DataError.
    """
    check_answers(probabilities, labels)
    values, pulls = zip(*(_area(probabilities[:, c], labels == c) for c in judged(probabilities, labels)), strict=True)
    return Figure(float(np.mean(values)), np.mean(pulls, axis=0), labels, _fewest(labels))


def precision(probabilities: Array, labels: Labels) -> Figure:
    """Return the average precision, the area below the steps of precision against recall; macro when c > 2.

    Its interval is the infinitesimal jackknife's (Efron 1982), shares of classes being drawn with the rows. Raises
    DataError.
    """
    check_answers(probabilities, labels)
    classes = judged(probabilities, labels)
    values, pulls = zip(*(_precision(probabilities[:, c], labels == c) for c in classes), strict=True)
    return Figure(float(np.mean(values)), np.mean(pulls, axis=0), np.zeros_like(labels), _fewest(labels))


def _fewest(labels: Labels) -> int:
    return int(np.unique(labels, return_counts=True)[1].min())


def _area(scores: Array, positive: NDArray[np.bool_]) -> tuple[float, Array]:
    """Return the AUC and each row's pull on it, (n,), from mid-ranks: ties count half (Sun & Xu 2014)."""
    from scipy.stats import rankdata

    m = int(positive.sum())
    n = len(scores) - m
    ranks = rankdata(scores)
    placed = np.empty(len(scores))
    placed[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    placed[~positive] = 1.0 - (ranks[~positive] - rankdata(scores[~positive])) / m
    value = float(placed[positive].mean())
    return value, (placed - value) / np.where(positive, m, n)


def _precision(scores: Array, positive: NDArray[np.bool_]) -> tuple[float, Array]:
    """Return the average precision and each row's pull on it, (n,); rows of equal score enter together."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    group = np.repeat(np.arange(len(last)), np.diff(last, prepend=-1))
    hits = np.cumsum(hit)[last].astype(np.float64)
    rows = last + 1.0
    new = np.diff(hits, prepend=0.0)
    total = hits[-1]
    value = float((new * hits / rows).sum() / total)
    # A row counts among hits and rows of its own step and of all steps below it.
    below_hits = np.cumsum((new / rows)[::-1])[::-1][group]
    below_rows = np.cumsum((new * hits / rows**2)[::-1])[::-1][group]
    pull = np.empty(len(scores))
    pull[order] = (hit * ((hits / rows)[group] - value + below_hits) - below_rows) / total
    return value, pull

"""How much a single feature tells of the class, and which rows are equal: vectorised over all columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_MOST_ROWS = 20_000
_MOST_VALUES = 100


def row_keys(x: Array, y: Labels | None = None) -> NDArray[np.uint64]:
    """Return a 64-bit key of each row's content, (n,): equal rows have equal keys, missing equals missing.

    x: (n, d). With y the label is part of the row. Chance of one false match among n rows is below n^2 / 2^64.
    """
    rows = x if y is None else np.column_stack([x, y])
    rows = np.where(np.isnan(rows), np.nan, rows) + 0.0  # one NaN, one zero
    bits = np.ascontiguousarray(rows).view(np.uint64)
    odd = np.random.default_rng(0x5EED).integers(0, 2**63, bits.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + odd
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB) ^ odd
    keys: NDArray[np.uint64] = ((mixed ^ (mixed >> np.uint64(31))) * odd).sum(axis=1, dtype=np.uint64)
    return keys


def single_feature_auc(x: Array, y: Labels) -> Array:
    """Return for each feature the AUC of its value alone, whichever way it points, (d,), 0.5 to 1.

    More than two classes: the mean over classes, one against the rest, weighted by size. A missing value
    ranks lowest. At most 20,000 rows, evenly spread, are used. Mann and Whitney 1947.
    """
    step = max(1, -(-len(x) // _MOST_ROWS))
    x, y = x[::step], y[::step]
    ranks = np.column_stack([_ranks(np.where(np.isnan(c), -np.inf, c)) for c in x.T])
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        return np.full(x.shape[1], 0.5)
    if len(classes) == 2:
        classes, counts = classes[1:], counts[1:]
    total = np.zeros(x.shape[1])
    for value, n in zip(classes, counts, strict=True):
        u = ranks[y == value].sum(axis=0) - n * (n + 1) / 2
        auc = u / (n * (len(y) - n))
        total += np.maximum(auc, 1 - auc) * n
    result: Array = total / counts.sum()
    return result


def lookup_accuracy(train: tuple[Array, Labels], test: tuple[Array, Labels]) -> Array:
    """Return for each feature the balanced accuracy on test rows of a table value -> commonest training class, (d,).

    0 for a feature of more than 100 values in training. A value that training lacks counts as wrong.
    """
    (x, y), (x_test, y_test) = train, test
    classes = int(max(y.max(), y_test.max())) + 1
    weights = 1.0 / np.bincount(y_test, minlength=classes)[y_test]
    out = np.zeros(x.shape[1])
    for i in range(x.shape[1]):
        if len(np.unique(x[:1000, i])) > _MOST_VALUES:
            continue
        values, codes = np.unique(x[:, i], return_inverse=True)
        if len(values) > _MOST_VALUES:
            continue
        best = np.bincount(codes * classes + y, minlength=len(values) * classes).reshape(-1, classes).argmax(axis=1)
        at = np.minimum(np.searchsorted(values, x_test[:, i]), len(values) - 1)
        known = (values[at] == x_test[:, i]) | (np.isnan(values[at]) & np.isnan(x_test[:, i]))
        out[i] = (weights * (known & (best[at] == y_test))).sum() / weights.sum()
    return out


def _ranks(values: Array) -> Array:
    """Return ranks from 1, ties at their mean, (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Array = (last - (counts - 1) / 2)[inverse]
    return mean

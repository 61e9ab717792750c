"""Attribute inference: what the model tells of a hidden attribute, beyond what correlations tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.clock import derive_seed
from assay.core.errors import DataError
from assay.core.measure import Measure
from assay.stats.intervals import bootstrap, clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_LEAST = 60
_VALUES = 4
THREAT = (
    "black box with probabilities; knows every other feature and the true label of the person, and owns complete rows of "
    "other people of the same distribution"
)


@dataclass(frozen=True, slots=True, eq=False)
class AttributeResult:
    """What is inferred of one attribute of n people. guess, imputed, truth (n,): codes; member (n,): trained on."""

    guess: Labels
    imputed: Labels
    truth: Labels
    member: NDArray[np.bool_]

    def measures(self, name: str, *, seed: int, queries: int) -> tuple[Measure, ...]:
        """Return accuracy with and without the model, their paired difference, and members' gain over others'."""
        right, known = self.guess == self.truth, self.imputed == self.truth
        n = len(right)
        found = []
        for what, hits in (("accuracy", right), ("imputation", known)):
            low, high = clopper_pearson(int(hits.sum()), n)
            found.append(
                Measure(
                    f"attribute.{what}@{name}",
                    float(hits.mean()),
                    low,
                    high,
                    n,
                    threat_model=THREAT,
                    seed=seed,
                    queries=queries,
                )
            )
        gain = right.astype(float) - known.astype(float)
        found.append(_difference(f"attribute.gain@{name}", gain, seed, queries))
        if self.member.any() and not self.member.all():
            inside, outside = gain[self.member], gain[~self.member]
            apart = float(inside.mean() - outside.mean())
            reach = 1.96 * float(np.sqrt(inside.var() / len(inside) + outside.var() / len(outside)))
            found.append(
                Measure(
                    f"attribute.member_gain@{name}", apart, apart - reach, apart + reach, n, unit="difference",
                    method="normal", threat_model=THREAT, seed=seed, queries=queries,
                )
            )  # fmt: skip
        return tuple(found)


def infer_attribute(
    predictor: Predictor,
    x: Array,
    y: Labels,
    member: NDArray[np.bool_],
    own: tuple[Array, Labels],
    place: int,
    *,
    values: Array | None = None,
    seed: int,
) -> AttributeResult:
    """Infer feature ``place`` of people x (n, d) with labels y (n,), of whom ``member`` (n,) were trained on.

    own: complete rows (m, d) and labels (m,) that the attacker owns. values: what the attribute can be (default: the
    quartiles' middles of the attacker's rows). The attacker asks the model about each person with every value filled in,
    and learns from own rows how answers and the other features tell the true value; the same learner without the
    answers is the imputation that anyone could do. Fredrikson et al. 2014; gain over imputation as Jayaraman & Evans 2022.
    Raises DataError when there are too few own rows or the attribute has one value.
    """
    x_own, y_own = own
    if len(x_own) < _LEAST:
        raise DataError(f"{len(x_own)} rows are too few to learn an attribute from", remedy=f"Give {_LEAST}")
    levels = _levels(x_own[:, place]) if values is None else np.asarray(values, dtype=np.float64)
    truth_own, truth = _coded(x_own[:, place], levels), _coded(x[:, place], levels)
    if len(np.unique(truth_own)) < 2:
        raise DataError("the attribute has one value only", remedy="Mark another column as sensitive")
    rest_own, rest = (np.column_stack([np.delete(r, place, axis=1), t]) for r, t in ((x_own, y_own), (x, y)))
    told_own, told = (_answers(predictor, r, t, place, levels) for r, t in ((x_own, y_own), (x, y)))
    guess = _learn(np.hstack([rest_own, told_own]), truth_own, np.hstack([rest, told]), seed)
    return AttributeResult(guess, _learn(rest_own, truth_own, rest, seed), truth, np.asarray(member))


def _levels(values: Array) -> Array:
    known = np.unique(values[~np.isnan(values)])
    if len(known) <= _VALUES:
        return known
    inner = np.quantile(values[~np.isnan(values)], (np.arange(_VALUES) + 0.5) / _VALUES)
    return np.unique(inner)


def _coded(values: Array, levels: Array) -> Labels:
    """Return the nearest level of each value, (n,); a missing value counts as the first."""
    codes: Labels = np.abs(np.nan_to_num(values)[:, None] - levels).argmin(axis=1)
    return codes


def _answers(predictor: Predictor, rows: Array, labels: Labels, place: int, levels: Array) -> Array:
    """Return the log-probability of the true label with each value filled in, (n, k), against the best of them."""
    filled = np.repeat(rows[:, None], len(levels), axis=1)
    filled[:, :, place] = levels
    shares = predictor.probabilities(filled.reshape(-1, rows.shape[1])).reshape(len(rows), len(levels), -1)
    logs = np.log(np.clip(shares[np.arange(len(rows)), :, labels], 1e-6, 1.0))
    relative: Array = logs - logs.max(axis=1, keepdims=True)
    return relative


def _learn(x_own: Array, truth: Labels, x: Array, seed: int) -> Labels:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False,
        random_state=derive_seed(seed, "attribute") % 2**31,
    )  # fmt: skip
    guess: Labels = model.fit(x_own, truth).predict(x)
    return guess


def _difference(name: str, gain: Array, seed: int, queries: int) -> Measure:
    low, high = bootstrap(lambda g: float(g.mean()), gain, draws=1000, seed=derive_seed(seed, name))
    middle = float(gain.mean())
    return Measure(
        name, middle, min(low, middle), max(high, middle), len(gain), unit="difference", method="paired bootstrap",
        threat_model=THREAT, seed=seed, queries=queries,
    )  # fmt: skip

"""What every poisoning attack shares: shares that hold each other, repeats, refits, and what the model loses."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.ranking import Figure, area, deviation
from assay.core.clock import derive_seed, stream
from assay.core.discovery import Control
from assay.core.errors import DataError
from assay.core.measure import Measure
from assay.core.settings import check_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.refit import Refit

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class PoisoningResult:
    """What the model loses. shares (k,): of training rows poisoned, 0 first; auc (k,): reached, mean of the repeats."""

    shares: Array
    auc: Array
    measures: tuple[Measure, ...]
    curve: Curve


class PoisoningAttack(Control, package="assay.assessment.poisoning", techniques=("AML.T0020",)):
    """Tampering with a share of the training rows. Subclasses are frozen dataclasses; authors write ``poison``.

    shares: rising, in [0, 1). repeats: fits at each share, each with its own choice of rows.
    """

    __slots__ = ()
    shares: tuple[float, ...]
    repeats: int
    threat_model: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def title(self) -> str:
        """The name that measures carry."""
        return self.name

    @final
    def __call__(
        self, refit: Refit, x_train: Array, y_train: Labels, x_test: Array, y_test: Labels, *, seed: int
    ) -> PoisoningResult:
        """Fit on clean and poisoned rows, in one call of ``refit``, and return the loss of AUC on clean test rows.

        x_train (n, ...), y_train (n,), x_test (m, ...), y_test (m,). Each loss is taken on the same test rows, so its
        interval is DeLong's for two models on one set of rows (1988), widened by how far repeats scatter.
        Raises DataError, and what ``refit`` raises.
        """
        y, y_clean = _labels(x_train, y_train, "training"), _labels(x_test, y_test, "test")
        classes = max(2, int(max(y.max(), y_clean.max())) + 1)
        shares = self.shares if self.shares[0] == 0 else (0.0, *self.shares)
        sets = [
            self.poison(y, share, classes, stream(seed, self.name, repeat))
            for share in shares
            for repeat in range(self.repeats)
        ]
        answers = refit.probabilities(sets, x_train, x_test, seed=derive_seed(seed, "poisoning", self.name))
        if answers.shape[:2] != (len(sets), len(y_clean)):
            raise DataError(f"refits answered in shape {answers.shape} for {len(sets)} fits and {len(y_clean)} rows")
        figures = [area(one, y_clean) for one in answers]
        values = np.array([f.value for f in figures]).reshape(len(shares), self.repeats)
        pulls = np.stack([f.pull for f in figures]).reshape(len(shares), self.repeats, -1).mean(axis=1)
        scatter = _scatter(values)
        measures = [
            self._drop(share, values[[0, i]].mean(axis=1), pulls[0] - pulls[i], y_clean, scatter, len(y), seed)
            for i, share in enumerate(shares)
            if share > 0
        ]
        curve = self._curve(np.array(shares), values.mean(axis=1), pulls, y_clean, scatter)
        return PoisoningResult(np.array(shares), values.mean(axis=1), tuple(measures), curve)

    @abstractmethod
    def poison(
        self, y: Labels, share: float, classes: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.intp], Labels]:
        """Return (rows, labels) to fit on when ``share`` of the rows with labels y (n,) is poisoned.

        The generator starts alike at every share: drawing the same numbers makes small shares part of large ones.
        """

    def _drop(self, share: float, pair: Array, pull: Array, y: Labels, scatter: float, n: int, seed: int) -> Measure:
        drop = float(pair[0] - pair[1])
        reach = _Z * float(np.hypot(deviation(pull, y), scatter * 2**0.5))
        return Measure(
            f"poisoning.auc_drop@flip{share:g},{self.title}", drop, max(-1.0, drop - reach), min(1.0, drop + reach),
            len(y), unit="auc", method=f"delong-paired, {self.repeats} fits of {n} rows",
            threat_model=self.threat_model, seed=seed,
        )  # fmt: skip

    def _curve(self, shares: Array, values: Array, pulls: Array, y: Labels, scatter: float) -> Curve:
        fewest = int(np.unique(y, return_counts=True)[1].min())
        ends = [Figure(float(v), pull, y, fewest).interval() for v, pull in zip(values, pulls, strict=True)]
        low, high = np.array(ends).T
        more = _Z * scatter
        series = Series(
            self.title.replace("_", " "), shares, values, np.maximum(0.0, low - more), np.minimum(1.0, high + more)
        )
        return Curve(
            "poisoning", "Poisoning", "share of training rows poisoned", "AUC on clean test rows", (series,),
            caption="What the same recipe reaches when that share of its training rows has been tampered with.",
        )  # fmt: skip


def _scatter(values: Array) -> float:
    """Return the standard error of a mean of repeats, pooled over shares, values (k, repeats); 0 with one repeat."""
    repeats = values.shape[1]
    if repeats < 2:
        return 0.0
    return float(np.sqrt(values.var(axis=1, ddof=1).mean() / repeats))


def _labels(x: Array, y: Labels, where: str) -> Labels:
    labels = np.asarray(y)
    if labels.shape != np.shape(x)[:1] or len(labels) == 0 or labels.dtype.kind not in "iub":
        raise DataError(
            f"labels of shape {labels.shape} and type {labels.dtype} do not go with rows of shape {np.shape(x)}",
            where=where,
            remedy="Give (n, ...) rows, n >= 1, and (n,) class indices",
        )
    if labels.min() < 0 or len(np.unique(labels)) < 2:
        raise DataError("labels must be class indices from 0, of two classes or more", where=where)
    return labels.astype(np.intp)
